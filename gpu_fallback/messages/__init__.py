"""Messages from the queue while the worker has them: received, kept alive, admitted."""
