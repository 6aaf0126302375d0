"""Licences of model families as facts: who is under them, and what they ask of whoever passes a converted model on.

Facts to check a repository against, not legal advice. ``read`` says whether we read the text or only know of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Terms:
    """One licence."""

    name: str
    ids: tuple[str, ...]  # what the card's `license` may be
    base: str  # pattern of the base models under it
    source: str
    read: bool
    families: tuple[str, ...] = ()  # source families in weightsmith.json that can be under no other
    named: str = ""  # pattern of the card's license_name where `license` is "other"
    text: str = ""  # pattern by which the licence's own text is known
    copy: bool = False  # a copy of the licence must be passed on
    notice: str = ""  # sentence that a Notice file must hold
    built_with: str = ""  # words that the card must show
    prefix: str = ""  # how the model's name must begin
    no_improve: bool = False  # outputs must not improve other language models
    duties: tuple[str, ...] = ()  # what no check can see

    def covers(self, base: str) -> bool:
        """Whether a base model's repository id is of a model under this licence."""
        return re.search(self.base, base, re.IGNORECASE) is not None


_LLAMA3 = r"(?:meta-llama/|/)(?:Meta-)?Llama-"
_MAU = "more than 700 million monthly users need a licence of their own from Meta"
_META = "Meta's LICENSE file of that release"

TERMS: tuple[Terms, ...] = (
    Terms(
        "Llama 2 Community License", ("llama2",), r"(?:meta-llama/|/)Llama-2-|meta-llama/CodeLlama|codellama/",
        _META, True, text=r"LLAMA 2 COMMUNITY LICENSE", copy=True, no_improve=True,
        notice="Llama 2 is licensed under the LLAMA 2 Community License", duties=(_MAU,),
    ),
    Terms(
        "Llama 3 Community License", ("llama3",), _LLAMA3 + r"3-(?!\d)",
        _META, True, text=r"META LLAMA 3 COMMUNITY LICENSE", copy=True, no_improve=True,
        notice="Meta Llama 3 is licensed under the Meta Llama 3 Community License",
        built_with="Built with Meta Llama 3", prefix="Llama 3", duties=(_MAU,),
    ),
    *(
        Terms(
            f"Llama {number} Community License", (f"llama{number}",), _LLAMA3 + re.escape(number) + r"-",
            _META, True, text=rf"LLAMA {re.escape(number)} COMMUNITY LICENSE", copy=True,
            notice=f"Llama {number} is licensed under the Llama {number} Community License",
            built_with="Built with Llama", prefix="Llama", duties=(_MAU,),
        )
        for number in ("3.1", "3.2", "3.3", "4")
    ),
    Terms(
        "Baichuan Community License", ("other",), r"baichuan-inc/|/Baichuan2?-\d+B",
        "Baichuan2 repository: Community License for Baichuan2 Model (PDF)", True,
        families=("baichuan",), named=r"baichuan", copy=True,
        text=r"(?i)baichuan.{0,40}(?:community )?license|Baichuan ?2? ?模型社区许可协议",
        duties=("commercial use only by application, below a million daily users, not by cloud providers",),
    ),
    Terms(
        "Tongyi Qianwen License", ("other",), r"Qwen/Qwen-(?:1_8B|7B|14B|72B)",
        "Qwen repository: Tongyi Qianwen LICENSE AGREEMENT", True,
        families=("qwen",), named=r"tongyi|qianwen|qwen", copy=True, no_improve=True,
        text=r"(?i)Tongyi Qianwen (?:RESEARCH )?LICENSE AGREEMENT",
        notice="Tongyi Qianwen is licensed under the Tongyi Qianwen LICENSE AGREEMENT",
        duties=("above 100 million monthly users a licence of one's own; 1.8B and 72B RESEARCH are non-commercial",),
    ),
    Terms(
        "ChatGLM License", ("other",), r"(?:THUDM|zai-org)/chatglm",
        "ChatGLM3 repository: MODEL_LICENSE", True,
        named=r"chatglm|model.?license", copy=True,
        text=r"(?i)The ChatGLM\d?-?6B License|ChatGLM\d?.{0,20}License",
        duties=("free for research; commercial use after registration; no military use",),
    ),
    Terms(
        "GLM-4 License", ("other",), r"(?:THUDM|zai-org)/glm-4-9b",
        "GLM-4 repository: LICENSE of the weights", False, named=r"glm-?4", text=r"(?i)glm-4.{0,20}license", copy=True,
        duties=("registration for commercial use; derived names begin with glm-4",),
    ),
    Terms(
        "Gemma Terms of Use", ("gemma",), r"google/(?:code)?gemma-(?!4)",
        "ai.google.dev/gemma/terms", False,
        families=("gemma", "gemma2"), text=r"(?i)Gemma Terms of Use", copy=True,
        notice="Gemma is provided under and subject to the Gemma Terms of Use",
        duties=("the use restrictions pass on to every recipient; changed files say that they were changed",),
    ),
    Terms(
        "DeepSeek Model License", ("other",),
        r"deepseek-ai/(?:DeepSeek-V2|DeepSeek-V3(?!-0324|\.[1-9])|deepseek-llm|deepseek-moe)",
        "DeepSeek-V3 repository: LICENSE-MODEL with Attachment A", True,
        named=r"deepseek", text=r"DEEPSEEK LICENSE AGREEMENT", copy=True,
        duties=("the use restrictions of Attachment A pass on to every recipient",),
    ),
    Terms(
        "MIT (DeepSeek R1 and later)", ("mit",), r"deepseek-ai/DeepSeek-(?:R1(?!-Distill)|V3-0324|V3\.)",
        "DeepSeek-R1 repository: LICENSE", False, text=r"MIT License", duties=("the copyright notice is passed on",),
    ),
    Terms(
        "Yi (Apache-2.0)", ("apache-2.0", "other"), r"01-ai/Yi",
        "Yi repository: LICENSE and MODEL_LICENSE_AGREEMENT.txt", True, named=r"yi", text=r"Apache License",
        duties=('suggested attribution: "This work is a derivative of [the Yi model you used] by 01.AI"',),
    ),
    Terms(
        "Qwen 2 and later", ("apache-2.0", "other"), r"Qwen/Qwen(?:1\.5|2|2\.5|3)-",
        "each source card: the licence differs by size (2.5-3B qwen-research, 72B qwen)", False, named=r"qwen|tongyi",
        duties=("take the licence from the source's card, never from the family",),
    ),
    Terms(
        "LLaMA 1 (research)", ("other",),
        r"(?:huggyllama|decapoda-research)/llama-|hfl/chinese-(?:llama|alpaca)-(?:lora-|plus-)?\d+b",
        "Meta's form of 2023", False, named=r"llama|research|gpl", duties=("non-commercial research only",),
    ),
)  # fmt: skip


def terms_of(bases: Iterable[str], family: str, licence: str, licence_name: str) -> tuple[Terms, ...]:
    """Every licence that a model is under, by its base models, by the family it was converted from and by its card."""
    bases = tuple(bases)
    stem = family.partition("-")[0]
    found = [terms for terms in TERMS if any(map(terms.covers, bases))]
    if not found:
        found = [terms for terms in TERMS if stem and stem in terms.families]
    if not found and licence and licence != "other":
        found = [terms for terms in TERMS if terms.ids == (licence,) and terms.copy]
    if not found and licence == "other" and licence_name:
        found = [
            terms
            for terms in TERMS
            if terms.named and terms.copy and re.search(terms.named, licence_name, re.IGNORECASE)
        ]
    return tuple(found)
