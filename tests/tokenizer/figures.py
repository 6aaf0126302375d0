"""The figures to reach, from facts/tokenizers.md, written before the code: strings whose ids equal the vendor's own.

Of 135 golden strings, 135 with special tokens in front, and 1500 fuzzed ones; then chat prompts, equal and all told,
where a prompt that the vendor's format refuses must be refused. Chinese-LLaMA's figures are those of the exact class.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    folder: str
    family: str
    golden: int
    fuzz: int
    chat: str | None = None  # template
    chats: tuple[int, int] = (0, 0)  # equal prompts of chat.jsonl, refused ones
    extras: int = 0  # equal prompts of chat_extra.jsonl
    recipe: str = ""
    whole: bool = False  # a tokenizer.json stands beside its model, which the figures are not about


FIGURES = (
    Figures("baichuan1", "baichuan", 135, 1495, "baichuan1", (3, 0), 12, "baichuan1"),
    Figures("baichuan2", "baichuan2", 135, 1500, "baichuan2", (3, 0), 12, "baichuan2"),
    Figures("qwen1", "qwen", 135, 1500, "qwen", (3, 0), 10, "qwen"),
    Figures("yi", "yi", 135, 1500, "yi", (3, 0), 12, "yi"),
    Figures("chatglm2", "chatglm2", 132, 1492, "chatglm2", (2, 1), 9, "chatglm2"),
    Figures("chatglm3", "chatglm3", 131, 1482, "chatglm3", (3, 0), 11, "chatglm3"),
    Figures("glm4", "glm4", 135, 1500, "glm4", (3, 0), 10, "glm4"),
    Figures("internlm", "internlm", 135, 1500, "internlm", (2, 1), 10, "internlm"),
    Figures("internlm2", "internlm2", 135, 1500, "internlm2", (3, 0), 12, "internlm2"),
    Figures("llama2", "llama", 135, 1500, "llama2", (3, 0), 11, "llama", whole=True),
    Figures("llama3", "llama", 135, 1500, "llama3", (3, 0), 11, "llama3"),
    Figures("minicpm3", "minicpm3", 135, 1500, "minicpm3", (3, 0), 12, "carried"),
    Figures("mistral", "mistral", 135, 1500, "mistral", (2, 1), 10, "mistral"),
    Figures("qwen2_5", "qwen2", 135, 1500, "qwen2", (3, 0), 12, "qwen2"),
    Figures("chinese_llama", "llama", 135, 1500, recipe="chinese-llama"),
    Figures("chinese_llama2", "llama", 135, 1500, recipe="chinese-llama-2"),
    Figures("gpt2", "gpt2", 133, 1493, recipe="gpt2"),
)
