"""Both directions with PocketFlow: any graph gives what it gives there, and mixes with it."""
