"""Running what a repository brings along: its tests, its linters. Only where that is permitted."""
