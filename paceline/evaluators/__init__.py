"""What a change is worth: evaluators, each of which scores one side of it from 0 to 10.

`gather` reads a repository and a base and answers the change as data. `measure` runs the
repository's own tests and linters, only where that is permitted. `engine` gives both to each
evaluator, in a process of its own, and makes one evaluation of the results.
"""
