"""What a deployment prints when it is done."""

from aws_cdk import CfnOutput, Stack
from constructs import Construct


def add_output(scope: Construct, id: str, *, value: str, description: str) -> None:  # noqa: A002
    """Tell a value in the outputs of the stack that is deployed: nobody is shown those of a stack
    nested in it.
    """
    stack = Stack.of(scope)
    CfnOutput(stack.nested_stack_parent or stack, id, value=value, description=description)
