"""The units of deployment: a stack composes constructs and grants, and names what other stacks must
find.
"""
