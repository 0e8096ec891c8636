"""Many runs at once, of one flow or one node, in threads and in tasks: none meets another's."""
