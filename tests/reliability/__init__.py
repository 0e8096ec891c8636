"""What may go wrong, at every place where it may: small in `make test`, in full in `make soak`."""
