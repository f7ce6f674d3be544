"""Runs that teach: each file is a configuration, commented; packaged so that `plumbline demo` finds its own."""
