"""Licences of models as facts: what each asks of whoever passes a converted model on.

Facts to check a repository against, not legal advice. ``read`` says whether we read the text or only know of it; which
repository is under which licence stands in ``published``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from convert.validate.names import plain_licence, spelled


class Strictness(IntEnum):
    """How much a licence forbids; of several that meet in one model the highest holds for all of it."""

    PERMISSIVE = 0
    CONDITIONS = 1  # duties and forbidden uses; commercial use is free
    REGISTERED = 2  # commercial use only after a form or an application
    RESEARCH = 3  # no commercial use


@dataclass(frozen=True)
class Terms:
    """One licence. Where there are several words or sentences, any one of them will do."""

    name: str
    ids: tuple[str, ...]  # what the card's `license` may be
    source: str
    strictness: Strictness = Strictness.CONDITIONS
    read: bool = True
    named: tuple[str, ...] = ()  # license_name where `license` is "other": whole, braces hold alternatives; the first is told
    beside: tuple[str, ...] = ()  # names that tell the licence only beside the base model: of several licences, or of none
    text: str = ""  # pattern by which the licence's own text is known
    copy: bool = True  # a copy of the licence must be passed on
    notices: tuple[str, ...] = ()  # sentences that a notice file must hold
    built_with: tuple[str, ...] = ()  # words that the card must show
    begins: tuple[str, ...] = ()  # how the model's name must begin
    within: str = ""  # what the model's name must have in it
    changes: bool = False  # changed files must say that they were changed
    no_improve: bool = False  # outputs must not improve other language models
    alike: bool = False  # what was made from the model can have no other terms, stricter ones neither
    duties: tuple[str, ...] = ()  # what no check can see

    @cached_property
    def names(self) -> frozenset[str]:
        """Plain names that are this licence's alone."""
        return frozenset(plain_licence(name) for names in self.named for name in spelled(names))

    @cached_property
    def names_beside(self) -> frozenset[str]:
        """Plain names that are this licence's where the base model tells it."""
        return frozenset(plain_licence(name) for names in self.beside for name in spelled(names))

    @property
    def called(self) -> str:
        """The license_name to state."""
        return next(spelled(self.named[0]))

    @property
    def binds(self) -> bool:
        """Whether the licence goes on to hold for what was made from the model; the permissive let others have their own."""
        return self.strictness > Strictness.PERMISSIVE

    def accepts(self, licence: str, name: str) -> bool:
        """Whether a card with this `license` and license_name states the licence."""
        if licence.lower() != "other":
            return licence.lower() in self.ids
        plain = plain_licence(name)
        return plain in self.names | self.names_beside or (not name and "other" in self.ids)

    def is_text(self, text: str) -> bool:
        """Whether a text is recognised as the licence's own."""
        return bool(self.text) and re.search(self.text, text) is not None


_USERS = (
    "who had more than 700 million monthly users on the day of the release needs a licence of one's own from Meta",
    "the Acceptable Use Policy holds for every recipient",
)
_EUROPE = "multimodal models: no rights are granted to who is domiciled in the European Union (use policy)"
_QWEN_USERS = "above 100 million monthly users a licence of one's own"

#: by short names, which ``published`` uses; from here on in the order in which a licence is looked for by its name
TERMS: dict[str, Terms] = {
    "apache": Terms(
        "Apache License 2.0", ("apache-2.0",), "Apache License 2.0, sections 4(a) and 4(b)", Strictness.PERMISSIVE,
        named=("apache-2.0", "apache{,-2,-v2,-v2.0,-version-2.0}"), text=r"Apache License\s+Version 2\.0", changes=True,
    ),
    "mit": Terms(
        "MIT License", ("mit",), "MIT License, second paragraph", Strictness.PERMISSIVE, named=("mit", "the-mit"),
        text=r"(?s:\A(?!.*Modified MIT).*Permission is hereby granted, free of charge, to any person obtaining a copy)",
    ),
    "yi": Terms(
        "Yi (Apache License 2.0)", ("apache-2.0",), "Yi repository: LICENSE, and README on derivatives of June 2024",
        Strictness.PERMISSIVE, named=("yi-license", "yi-series-models{,-community}"), text=r"Apache License\s+Version 2\.0",
        changes=True,
        duties=(
            'suggested attribution: "This work is a derivative of [the Yi model you used] by 01.AI, used under the '
            'Apache 2.0 License."',
        ),
    ),
    "cc-by-sa-4.0": Terms(
        "CC BY-SA 4.0", ("cc-by-sa-4.0",), "Creative Commons BY-SA 4.0, section 3(a) and 3(b)", read=False, copy=False,
        named=("cc-by-sa-4.0",), changes=True, alike=True, duties=("adaptations are under the same licence",),
    ),
    "llama1": Terms(
        "LLaMA 1 licence (non-commercial)", ("other",), "Meta's form of March 2023; huggyllama/llama-7b, README",
        Strictness.RESEARCH, read=False, copy=False,
        named=("llama-license", "llama{,-1}{,-non-commercial,-research,-non-commercial-bespoke}"),
        duties=("non-commercial research only",),
    ),
    "llama2": Terms(
        "Llama 2 Community License", ("llama2",), "Meta's LICENSE of Llama 2, sections 1.b and 2",
        named=("llama2", "{,meta-}llama-2{,-community}"),
        text=r"LLAMA 2 COMMUNITY LICENSE", no_improve=True, duties=_USERS,
        notices=("Llama 2 is licensed under the LLAMA 2 Community License",),
    ),
    **{
        f"llama{number}": Terms(
            f"Llama {number} Community License", (f"llama{number}",), f"Meta's LICENSE of Llama {number}, sections 1.b and 2",
            named=(f"llama{number}", f"{{,meta-}}llama-{{{number},{number.replace('.', '-')}}}{{,-community}}"),
            text=rf"LLAMA {re.escape(number)} COMMUNITY LICENSE",
            notices=(f"Llama {number} is licensed under the Llama {number} Community License",),
            built_with=("Built with Llama",), begins=("Llama", "Meta-Llama"),
            duties=(*_USERS, *((_EUROPE,) if number in ("3.2", "3.3", "4") else ())),
        )
        for number in ("3.1", "3.2", "3.3", "4")
    },
    "llama3": Terms(
        "Llama 3 Community License", ("llama3",), "Meta's LICENSE of Llama 3, sections 1.b and 2",
        named=("llama3", "{,meta-}llama-3{,-community}"),
        text=r"META LLAMA 3 COMMUNITY LICENSE", no_improve=True, duties=_USERS,
        notices=("Meta Llama 3 is licensed under the Meta Llama 3 Community License",),
        built_with=("Built with Meta Llama 3",), begins=("Llama 3", "Meta-Llama-3"),
    ),
    "gemma": Terms(
        "Gemma Terms of Use", ("gemma",), "ai.google.dev/gemma/terms, section 3.1", read=False,
        named=("gemma{,-terms,-terms-of-use}",), changes=True,
        text=r"(?i:Gemma Terms of Use)", notices=("Gemma is provided under and subject to the Gemma Terms of Use",),
        duties=("the use restrictions pass on to every recipient",),
    ),
    "baichuan7b": Terms(
        "Baichuan-7B model licence", ("other",),
        "Baichuan-7B repository: baichuan-7B 模型许可协议.pdf, 2.2 as eugeneyan/open-llms #49 of June 2023 quotes it",
        Strictness.REGISTERED, read=False, named=("baichuan-7b{,-model,-模型许可协议}",),
        text=r"(?i:baichuan-?7b\s*模型许可协议)",
        duties=("commercial use only after registration with the licensor and its written authorisation",),
    ),
    "baichuan": Terms(
        "Baichuan Community License", ("other",), "Baichuan2 repository: Community License for Baichuan2 Model (PDF)",
        Strictness.REGISTERED,
        named=("baichuan{,2,-13b}{,-model,-community,-模型社区许可协议}", "community-license-for-baichuan{2,-13b}-model"),
        text=r"(?i:baichuan.{0,40}(?:community )?license|Baichuan[- ]?(?:2|13B)? ?模型社区许可协议)",
        duties=("commercial use only by application, below a million daily users, not by cloud providers",),
    ),
    "tongyi-research": Terms(
        "Tongyi Qianwen Research License", ("other",), "Qwen repository: Tongyi Qianwen RESEARCH LICENSE AGREEMENT, 3",
        Strictness.RESEARCH, named=("{tongyi-qianwen,tongyi,qianwen}-research",),
        text=r"(?i:Tongyi Qianwen RESEARCH LICENSE AGREEMENT)",
        changes=True, no_improve=True, duties=("non-commercial use only",),
        notices=("Tongyi Qianwen is licensed under the Tongyi Qianwen RESEARCH LICENSE AGREEMENT",),
    ),
    "tongyi": Terms(
        "Tongyi Qianwen License", ("other",), "Qwen repository: Tongyi Qianwen LICENSE AGREEMENT, 3 and 4",
        named=("{tongyi-qianwen,tongyi,qianwen}",), text=r"(?i:Tongyi Qianwen LICENSE AGREEMENT)", changes=True, no_improve=True,
        notices=("Tongyi Qianwen is licensed under the Tongyi Qianwen LICENSE AGREEMENT",), duties=(_QWEN_USERS,),
    ),
    "qwen-research": Terms(
        "Qwen Research License", ("other",), "Qwen2.5-3B repository: Qwen RESEARCH LICENSE AGREEMENT of 19 Sep 2024, 3",
        Strictness.RESEARCH, named=("qwen{,2.5}-research",), text=r"(?<!Tongyi )Qwen RESEARCH LICENSE AGREEMENT", changes=True,
        notices=("Qwen is licensed under the Qwen RESEARCH LICENSE AGREEMENT",),
        built_with=("Built with Qwen", "Improved using Qwen"), duties=("non-commercial use only",),
    ),
    "qwen": Terms(
        "Qwen License", ("other",), "Qwen2.5-72B repository: Qwen LICENSE AGREEMENT of 19 Sep 2024, 3 and 4",
        named=("qwen{,2.5}",), text=r"(?<!Tongyi )Qwen LICENSE AGREEMENT", changes=True, duties=(_QWEN_USERS,),
        notices=("Qwen is licensed under the Qwen LICENSE AGREEMENT",),
        built_with=("Built with Qwen", "Improved using Qwen"),
    ),
    "chatglm": Terms(
        "ChatGLM License", ("other",), "ChatGLM3 repository: MODEL_LICENSE, 2 and 3", Strictness.REGISTERED,
        named=("chatglm{,2,3}{,-6b}{,-model}",),
        text=r"(?i:The ChatGLM\d?-?6B License|ChatGLM\d?.{0,20}License)",
        duties=("free for research; commercial use after registration; no military use",),
    ),
    "glm4": Terms(
        "GLM-4 License", ("other",), "THUDM/glm-4-9b repository: LICENSE of June 2024, 2 and 3", Strictness.REGISTERED,
        named=("glm-4{,-9b}{,-model}",), text=r"(?i:glm-4.{0,20}license)", built_with=("Built with glm-4",), begins=("glm-4",),
        duties=("commercial use after registration; no military use",),
    ),
    "minicpm": Terms(
        "MiniCPM Model Community License", ("other",), "OpenBMB/MiniCPM repository: MiniCPM Model License.md, 2 and 3",
        Strictness.REGISTERED, named=("minicpm-model-license", "minicpm{,-community,-model-community}", "general-model"),
        text=r"(?i:MiniCPM.{0,20}(?:license|许可))",
        notices=("MiniCPM is licensed under the MiniCPM Model Community License", "MiniCPM 根据 MiniCPM 模型社区许可证许可"),
        built_with=("Built with 面壁MiniCPM", "Built with OpenBMB MiniCPM"), within="MiniCPM", no_improve=True,
        duties=("commercial use after registration",),
    ),
    "internlm": Terms(
        "InternLM weights licence", ("other",), "internlm/internlm-7b, README, Open Source License", Strictness.REGISTERED,
        named=("internlm{,2,2.5}{,-weights,-model}",), copy=False,
        duties=("free for research; commercial use, also free, after an application form",),
    ),
    "aquila": Terms(
        "BAAI Aquila Model License", ("other",), "BAAI/Aquila-7B repository: BAAI Aquila Model License Agreement.pdf",
        read=False, named=("{,baai-}aquila{,2}{,-model}",), text=r"(?i:Aquila.{0,20}Licen[cs]e)",
        duties=("read it: a PDF that was not read here",),
    ),
    "deepseek": Terms(
        "DeepSeek Model License", ("other",), "DeepSeek-V3 repository: LICENSE-MODEL, 4.c, with Attachment A",
        named=("deepseek{,-model}",), text=r"DEEPSEEK LICENSE AGREEMENT", changes=True,
        duties=("the use restrictions of Attachment A pass on to every recipient",),
    ),
    "kimi": Terms(
        "Modified MIT License (Kimi)", ("other",), "moonshotai/Kimi-K2-Instruct repository: LICENSE", read=False,
        named=("kimi{,-k2}{,-modified-mit}",), beside=("modified-mit",), text=r"Modified MIT",
        duties=("above 100 million monthly users or 20 million dollars a month the interface shows the model's name",),
    ),
    "mistral-modified-mit": Terms(
        "Modified MIT License (Mistral)", ("other",), "mistralai/Devstral-2-123B-Instruct-2512 repository: LICENSE", read=False,
        named=("mistral{,-ai}-modified-mit",), beside=("modified-mit", "mistral"), text=r"Modified MIT",
        duties=("read it: it was not read here",),
    ),
    "minimax-modified-mit": Terms(
        "Modified MIT License (MiniMax)", ("other",), "MiniMaxAI/MiniMax-M2 repository: license_name modified-mit", read=False,
        named=("minimax-{modified-mit,m2}",), beside=("modified-mit",), text=r"Modified MIT",
        duties=("read it: it was not read here",),
    ),
    "mnpl": Terms(
        "Mistral AI Non-Production License", ("other",), "mistral.ai/licenses/MNPL-0.1.md", Strictness.RESEARCH, read=False,
        named=("mnpl{,-0.1}", "mistral{,-ai}-non-production{,-0.1}"), text=r"(?i:Mistral AI Non-Production License)",
        duties=("no use in production and none that is commercial",),
    ),
    "mrl": Terms(
        "Mistral AI Research License", ("other",), "mistral.ai/licenses/MRL-0.1.md", Strictness.RESEARCH, read=False,
        named=("mrl{,-0.1}", "mistral{,-ai}-research{,-0.1}"), text=r"(?i:Mistral AI Research License)",
        duties=("research only",),
    ),
    "cc-by-nc-4.0": Terms(
        "CC BY-NC 4.0", ("cc-by-nc-4.0",), "Creative Commons BY-NC 4.0, sections 2(a) and 3(a)", Strictness.RESEARCH,
        read=False, copy=False, named=("cc-by-nc-4.0",), changes=True, duties=("non-commercial use only",),
    ),
    "falcon180b": Terms(
        "Falcon-180B TII License", ("unknown", "other"), "space tiiuae/falcon-180b-license: LICENSE.txt", read=False,
        named=("{,tii-}falcon-180b{,-tii}",), beside=("falcon",), text=r"(?i:Falcon.?180B TII License)",
        duties=("hosting it as a service needs a licence from TII",),
    ),
    "falcon2": Terms(
        "TII Falcon License 2.0", ("unknown", "other"), "cards of falcon-11B and Falcon3-10B-Instruct", read=False,
        named=("falcon-llm-license", "{,tii-}falcon-{llm,2,2.0,llm-2.0,2-11b,2-11b-tii}", "tii-falcon"), beside=("falcon",),
        text=r"(?i:TII Falcon(?:[ -]LLM)? License|Falcon 2 11B TII License)",
        duties=("the acceptable use policy passes on to every recipient",),
    ),
    "stability-nc": Terms(
        "Stability AI Non-Commercial Research Community License", ("other",), "the licence's text, 1.b and 1.c",
        Strictness.RESEARCH,
        named=("stability{,-ai}{,-ai}-{nc,non-commercial}{,-research}{,-community}", "sai-nc{,-research}{,-community}"),
        changes=True,
        text=r"(?i:Stability AI Non-Commercial Research Community License)", duties=("non-commercial use only",),
        notices=("This Stability AI Model is licensed under the Stability AI Non-Commercial Research Community License",),
    ),
    "stability": Terms(
        "Stability AI Community License", ("other",),
        "the licence's text of 5 July 2024, III, IV.a and IV.b, on the page of stable-video-diffusion-img2vid-xt-1-1",
        Strictness.REGISTERED, named=("stabilityai-ai-community", "stability{,-ai}{,-community}"), changes=True, no_improve=True,
        beside=("stability{,-ai}{,-ai}-{nc,non-commercial}{,-research}{,-community}",), built_with=("Powered by Stability AI",),
        text=r"(?i:Stability AI Community License)",
        notices=("This Stability AI Model is licensed under the Stability AI Community License",),
        duties=(
            "commercial use after registration, above a revenue of a million dollars a year only with a licence of one's own",
            "what is changed is stated in the notice file", "the Acceptable Use Policy holds for every recipient",
            "models published before July 2024 were first under the Non-Commercial Research Community License",
        ),
    ),
    "skywork": Terms(
        "Skywork Community License", ("other",), "Skywork/Skywork-13B-base repository: Skywork Community License.pdf",
        read=False, named=("skywork{,-community}",), beside=("license",), text=r"(?i:Skywork.{0,30}License)",
        duties=("read it: a PDF that was not read here",),
    ),
}  # fmt: skip


def by_statement(licence: str, name: str) -> Terms | None:
    """The licence that a card states by its id, or by license_name where the id is "other"."""
    licence = licence.lower()
    if licence == "unknown":
        return None
    if licence != "other":
        return next((terms for terms in TERMS.values() if licence in terms.ids), None)
    return next((terms for terms in TERMS.values() if plain_licence(name) in terms.names), None)


def is_known(name: str) -> bool:
    """Whether a license_name is of some licence here; a name that one bears only beside its base model is no statement."""
    plain = plain_licence(name)
    return by_statement("other", name) is not None or sum(plain in terms.names_beside for terms in TERMS.values()) > 1


def recognised(text: str) -> tuple[Terms, ...]:
    """The licences of which a text can be."""
    return tuple(terms for terms in TERMS.values() if terms.is_text(text))


def plainly(found: Iterable[Terms]) -> Iterator[str]:
    """Names for texts: where several licences share one, the plain licence's without whose it is."""
    firsts = {terms.text: terms for terms in reversed(tuple(found))}
    yield from (re.sub(r" \(.*\)$", "", terms.name) for terms in firsts.values())


def strictest(parts: Iterable[Terms]) -> tuple[Terms, ...]:
    """Of the licences that meet in a model, those that hold for all of it."""
    parts = tuple(parts)
    most = max((terms.strictness for terms in parts), default=Strictness.PERMISSIVE)
    return tuple(terms for terms in parts if terms.strictness == most)
