"""The deployed functions on this machine, called as API Gateway, SQS and EventBridge call them."""
