"""The command-line agents that Paceline comes with, one class each, for the entry points.

Each is `program.Program` with a definition of `data/`; a third party may do the same.
"""

from typing import ClassVar

from paceline.tools.program import Program


class ClaudeCode(Program):
    """Anthropic's Claude Code."""

    definition_name: ClassVar[str] = "claude_code"


class GeminiCLI(Program):
    """Google's Gemini CLI."""

    definition_name: ClassVar[str] = "gemini_cli"


class Codex(Program):
    """OpenAI's Codex."""

    definition_name: ClassVar[str] = "codex"


class OpenCode(Program):
    """OpenCode, with any service that speaks OpenAI's Chat Completions."""

    definition_name: ClassVar[str] = "opencode"


class QwenCode(Program):
    """Alibaba's Qwen Code, with any service that speaks OpenAI's Chat Completions."""

    definition_name: ClassVar[str] = "qwen"


class Copilot(Program):
    """GitHub's Copilot CLI, with a model service of the owner's."""

    definition_name: ClassVar[str] = "copilot"


class Aider(Program):
    """Aider, with any service that speaks OpenAI's Chat Completions."""

    definition_name: ClassVar[str] = "aider"
