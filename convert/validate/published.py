"""Which published repositories are under which licence, and what each was made from.

A row names repositories whole: braces hold alternatives, and nothing else is a pattern. What is not listed is unknown,
and unknown is what is said about it. ``licence`` is what the publisher's own card or file says; the licences of what the
model was made from come on top, since publishing a derived model under a looser licence does not end their terms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from convert.validate.names import bare, plain_model, spelled
from convert.validate.terms import TERMS, Terms


@dataclass(frozen=True)
class Published:
    """Repositories of one licence; ``licence`` is a key of TERMS, ``text`` of another whose file and notice came with it."""

    names: str
    licence: str
    source: str
    made_from: str = ""
    text: str = ""

    @property
    def terms(self) -> Terms:
        terms = TERMS[self.licence]
        if not self.text:
            return terms
        other = TERMS[self.text]
        return replace(terms, text=f"{terms.text}|{other.text}", notices=(*terms.notices, *other.notices))


_LLAMA = "the LICENSE of that release, which covers all of its weights"
_DISTILL = "DeepSeek-R1 README, section License"
_YI = "01-ai's notice of June 2024: all Yi models are under apache-2.0"
_QWEN25 = "Qwen2.5 release post of Sep 2024: Apache 2.0 but for the 3B and 72B models"
_QWEN25_ODD = "license_name of the model cards, Sep 2024"
_QWEN15 = "license_name of the model cards of Qwen1.5"
_MISTRAL = "docs.mistral.ai, open weight models, section License"
_CARD = "the card's license"

PUBLISHED: tuple[Published, ...] = (
    # Meta and what others made from LLaMA 1
    Published("{huggyllama,vllm-project}/llama-{7b,13b,30b,65b}", "llama1", "README: non-commercial, see the LICENSE file"),
    Published("{decapoda-research,jeffwan}/llama-{7b,13b,30b,65b}-hf", "llama1", "README: non-commercial bespoke licence"),
    Published("elinas/llama-{7b,13b,30b,65b}-hf-transformers-4.29", "llama1", "weights of LLaMA 1"),
    Published("lmsys/vicuna-{7b,13b,33b}-v1.3", "llama1", "README: non-commercial, from LLaMA", "huggyllama/llama-7b"),
    Published("lmsys/vicuna-{7b,13b}{,-delta}-v1.1", "llama1", "README: non-commercial, from LLaMA", "huggyllama/llama-7b"),
    Published("{tatsu-lab/alpaca-7b-wdiff,tatsu-lab/alpaca-7b,chavinlo/alpaca-native,chavinlo/alpaca-13b}", "llama1",
              "Stanford Alpaca README: research only, from LLaMA", "huggyllama/llama-7b"),
    Published("hfl/chinese-{llama,alpaca}-{,plus-,pro-}lora-{7b,13b,33b}", "apache",
              "the card's license; its base is LLaMA 1, and Chinese-LLaMA-Alpaca #29: not for commercial use",
              "huggyllama/llama-7b"),
    Published("meta-llama/Llama-2-{7b,13b,70b}{,-chat}{,-hf}", "llama2", _LLAMA),
    Published("{meta-llama,codellama}/CodeLlama-{7b,13b,34b,70b}{,-Python,-Instruct}{,-hf}", "llama2", _LLAMA),
    Published("meta-llama/LlamaGuard-7b", "llama2", _LLAMA),
    Published("lmsys/vicuna-{7b,13b}-v1.5{,-16k}", "llama2", "README: Llama 2 Community License", "meta-llama/Llama-2-7b-hf"),
    Published("hfl/chinese-{llama,alpaca}-2-{,lora-}{1.3b,7b,13b}{,-16k,-64k}", "apache", _CARD, "meta-llama/Llama-2-7b-hf"),
    Published("meta-llama/{,Meta-}Llama-3-{8B,70B}{,-Instruct}", "llama3", _LLAMA),
    Published("meta-llama/{,Meta-}Llama-Guard-2-8B", "llama3", _LLAMA),
    Published("nvidia/Llama3-ChatQA-1.5-{8B,70B}", "llama3", _CARD, "meta-llama/Meta-Llama-3-8B"),
    Published("hfl/llama-3-chinese-8b{,-lora,-instruct,-instruct-lora,-instruct-v2,-instruct-v2-lora,-instruct-v3}", "apache",
              _CARD, "meta-llama/Meta-Llama-3-8B"),
    Published("meta-llama/{,Meta-}Llama-3.1-{8B,70B,405B}{,-Instruct}{,-FP8}", "llama3.1", _LLAMA),
    Published("meta-llama/Llama-Guard-3-8B{,-INT8}", "llama3.1", _LLAMA),
    Published("nvidia/Llama-3.1-Nemotron-70B-Instruct{,-HF}", "llama3.1", _CARD, "meta-llama/Llama-3.1-70B-Instruct"),
    Published("meta-llama/Llama-3.2-{1B,3B,11B-Vision,90B-Vision}{,-Instruct}", "llama3.2", _LLAMA),
    Published("meta-llama/Llama-Guard-3-{1B,11B-Vision}", "llama3.2", _LLAMA),
    Published("meta-llama/Llama-3.3-70B-Instruct", "llama3.3", _LLAMA),
    Published("meta-llama/Llama-4-{Scout-17B-16E,Maverick-17B-128E}{,-Instruct}{,-FP8,-Original}", "llama4", _LLAMA),
    Published("meta-llama/Llama-Guard-4-12B", "llama4", _LLAMA),
    # Baichuan
    Published("baichuan-inc/Baichuan-7B", "baichuan7b", "README_EN, Licences, and the PDF beside it"),
    Published("baichuan-inc/Baichuan-13B-{Base,Chat}", "baichuan", "README: Community License for Baichuan-13B Model"),
    Published("baichuan-inc/Baichuan2-{7B,13B}-{Base,Chat}{,-4bits}", "baichuan", "the two PDFs beside the weights"),
    Published("baichuan-inc/Baichuan2-7B-Intermediate-Checkpoints", "baichuan", "README, terms and conditions"),
    Published("baichuan-inc/Baichuan-M2-32B{,-GPTQ-Int4}", "apache", "README, 许可证", "Qwen/Qwen2.5-32B"),
    # Qwen
    Published("Qwen/Qwen-{7B,14B,72B}{,-Chat}{,-Int4,-Int8}", "tongyi", "QwenLM/Qwen README, License Agreement"),
    Published("Qwen/Qwen-1_8B{,-Chat}{,-Int4,-Int8}", "tongyi-research", "LICENSE, commit 82c8589"),
    Published("Qwen/Qwen1.5-{7B,14B,72B,110B}{,-Chat}", "tongyi", _QWEN15),
    Published("Qwen/Qwen1.5-{0.5B,1.8B,4B}{,-Chat}", "tongyi-research", _QWEN15),
    Published("Qwen/Qwen1.5-32B", "tongyi-research", _QWEN15),
    Published("Qwen/Qwen1.5-32B-Chat", "tongyi", f"{_CARD}_name; not read here"),
    Published("Qwen/CodeQwen1.5-7B", "tongyi-research", f"{_QWEN15}; its file is the agreement", text="tongyi"),
    Published("Qwen/CodeQwen1.5-7B-Chat", "tongyi", f"{_CARD}_name; not read here"),
    Published("Qwen/Qwen2-{0.5B,1.5B,7B,57B-A14B}{,-Instruct}", "apache", "Qwen's answer in discussion 1 of Qwen2-72B"),
    Published("Qwen/Qwen2-72B{,-Instruct}", "tongyi", "README, license_name; Qwen's answer in its discussion 1"),
    Published("Qwen/Qwen2-VL-{2B,7B}{,-Instruct}", "apache", "LICENSE, commit eed1309 of the 7B"),
    Published("Qwen/Qwen2-VL-72B{,-Instruct}", "qwen", "LICENSE of 19 Sep 2024"),
    Published("Qwen/Qwen2.5-{0.5B,1.5B,7B,14B,32B}{,-Instruct}", "apache", _QWEN25),
    Published("Qwen/Qwen2.5-3B{,-Instruct}", "qwen-research", _QWEN25_ODD),
    Published("Qwen/Qwen2.5-72B{,-Instruct}", "qwen", _QWEN25_ODD),
    Published("Qwen/Qwen2.5-Coder-{0.5B,1.5B,7B,14B,32B}{,-Instruct}", "apache", _CARD),
    Published("Qwen/Qwen2.5-Coder-3B{,-Instruct}", "qwen-research", _QWEN25_ODD),
    Published("Qwen/Qwen2.5-Math-{1.5B,7B}{,-Instruct}", "apache", _QWEN25),
    Published("Qwen/Qwen2.5-Math-72B{,-Instruct}", "qwen", _QWEN25_ODD),
    Published("Qwen/Qwen2.5-VL-{7B,32B}-Instruct", "apache", _CARD),
    Published("Qwen/Qwen2.5-VL-3B-Instruct", "qwen-research", "its discussion 12: the page says Qwen RESEARCH"),
    Published("Qwen/Qwen2.5-VL-72B-Instruct", "qwen", "LICENSE, as discussion 31 of the 7B links it"),
    Published("Qwen/Qwen2.5-Omni-3B", "qwen-research", "license_name of the card"),
    Published("Qwen/Qwen3-{0.6B,1.7B,4B,8B,14B}{,-Base}", "apache", "LICENSE, commit b968826 of the 8B"),
    Published("Qwen/Qwen3-{32B,30B-A3B,30B-A3B-Base,235B-A22B}", "apache", "Qwen3 release post of Apr 2025"),
    Published("Qwen/Qwen3-{4B,30B-A3B,235B-A22B}-{Instruct,Thinking}-2507", "apache", _CARD),
    Published("Qwen/{Qwen3.5-9B,Qwen3.5-9B-Base,Qwen3.8-27B}", "apache", "LICENSE, commits c202236, 68c46c4 and 1d4bf0f"),
    Published("AIDC-AI/Marco-o1", "apache", "NOTICE: trained from Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
    Published("allenai/Molmo-72B-0924", "apache", "the card's license; Notice.txt names Qwen2's 72B", "Qwen/Qwen2-72B"),
    # DeepSeek
    Published("deepseek-ai/deepseek-llm-{7b,67b}-{base,chat}", "deepseek", "README, License: Model License"),
    Published("deepseek-ai/deepseek-moe-16b-{base,chat}", "deepseek", "README, License: Model License"),
    Published("deepseek-ai/deepseek-coder-{1.3b,6.7b,33b}-{base,instruct}", "deepseek", "DeepSeek-Coder README, 9"),
    Published("deepseek-ai/{deepseek-coder-5.7bmqa-base,deepseek-coder-7b-base-v1.5,deepseek-coder-7b-instruct-v1.5}", "deepseek",
              "README: subject to the Model License"),
    Published("deepseek-ai/deepseek-math-7b-{base,instruct,rl}", "deepseek", "DeepSeek-Math LICENSE-MODEL"),
    Published("deepseek-ai/deepseek-vl2{,-small,-tiny}", "deepseek", "README, commit 57ea787"),
    Published("deepseek-ai/DeepSeek-V2{,-Chat,-Chat-0628,-Lite,-Lite-Chat,.5,.5-1210}", "deepseek", "LICENSE, commit 8e3f5f6"),
    Published("deepseek-ai/DeepSeek-Coder-V2-{Base,Instruct,Instruct-0724,Lite-Base,Lite-Instruct}", "deepseek",
              "README, License: Model License"),
    Published("deepseek-ai/DeepSeek-V3{,-Base}", "deepseek", "LICENSE-CODE and LICENSE-MODEL, commit cc85cae of V3-Base"),
    Published("deepseek-ai/DeepSeek-V3{-0324,.1,.1-Base,.1-Terminus,.2,.2-Exp}", "mit", "LICENSE, commit c0781d0 of V3.1"),
    Published("deepseek-ai/DeepSeek-{R1,R1-Zero,R1-0528,V4-Pro,V4.1-Flash}", "mit", "LICENSE, commit 56d4cbb of R1"),
    Published("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "mit", _DISTILL, "Qwen/Qwen2.5-Math-1.5B"),
    Published("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "mit", _DISTILL, "Qwen/Qwen2.5-Math-7B"),
    Published("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "mit", _DISTILL, "Qwen/Qwen2.5-14B"),
    Published("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "mit", _DISTILL, "Qwen/Qwen2.5-32B"),
    Published("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "mit", _DISTILL, "meta-llama/Llama-3.1-8B"),
    Published("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "mit", _DISTILL, "meta-llama/Llama-3.3-70B-Instruct"),
    Published("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "mit", "LICENSE, commit 6e8885a", "Qwen/Qwen3-8B-Base"),
    # GLM
    Published("{THUDM,zai-org}/chatglm{,2,3}-6b{,-32k,-128k,-base,-int4,-int8}", "chatglm", "MODEL_LICENSE beside the weights"),
    Published("{THUDM,zai-org}/glm-4-9b{,-chat,-chat-1m}{,-hf}", "glm4", "LICENSE of June 2024, license_name glm-4"),
    Published("{THUDM,zai-org}/glm-4v-9b", "glm4", "LICENSE of June 2024, license_name glm-4"),
    Published("{THUDM,zai-org}/GLM-{4,Z1}-{9B,32B}{,-Base}-0414", "mit", "the Hub's metadata of GLM-4-32B-0414"),
    Published("{THUDM,zai-org}/GLM-Z1-Rumination-32B-0414", "mit", "the Hub's metadata of GLM-4-32B-0414"),
    Published("zai-org/GLM-{4.5,4.5-Air,4.6}{,-Base,-FP8}", "mit", "the Hub's metadata"),
    # MiniCPM, InternLM, Aquila, Skywork
    Published("openbmb/MiniCPM-{1B,2B}-{sft,dpo}-{bf16,fp16,fp32}{,-llama-format}", "minicpm", "README, License"),
    Published("openbmb/{MiniCPM-2B-128k,MiniCPM-MoE-8x2B,MiniCPM-V,MiniCPM-V-2}", "minicpm", "README, License"),
    Published("openbmb/MiniCPM-Llama3-V-2_5", "minicpm", "README, License", "meta-llama/Meta-Llama-3-8B-Instruct"),
    Published("openbmb/MiniCPM-V-2_6", "minicpm", "README, License", "Qwen/Qwen2-7B"),
    Published("openbmb/{MiniCPM4-0.5B,MiniCPM4-8B,MiniCPM5-1B}", "apache", _CARD),
    Published("internlm/internlm-{,chat-}{7b,20b}{,-8k,-v1_1}", "internlm", "README, commits 542fec0 and 297f4f6"),
    Published("internlm/internlm2-{,base-,chat-,math-,math-base-}{1_8b,7b,20b}{,-sft}", "internlm", "README, License"),
    Published("internlm/internlm2_5-7b{,-chat,-chat-1m}", "internlm", "README, License, commit 4434a5f of the chat model"),
    Published("KnutJaegersberg/internlm-20b-llama", "internlm", "README: license_name internlm", "internlm/internlm-20b"),
    Published("{chargoddard,bartowski}/internlm2-7b-llama", "internlm", "README: license other", "internlm/internlm2-7b"),
    Published("BAAI/{Aquila-7B,AquilaChat-7B,AquilaCode-py,AquilaCode-multi}", "aquila", "README, License"),
    Published("BAAI/{Aquila2,AquilaChat2}-{7B,34B}{,-16K}", "aquila", "README, License"),
    Published("BAAI/Aquila2-70B-Expr", "aquila", "README, License, commit ebeceb5: a licence of the 70B's own"),
    Published("Skywork/Skywork-13B-base", "skywork", "Skywork Community License.pdf, commit 5e9642a"),
    # Yi
    Published("01-ai/Yi-{6B,9B,34B}{,-Chat,-200K}{,-4bits,-8bits}", "yi", _YI),
    Published("01-ai/Yi-1.5-{6B,9B,34B}{,-Chat,-32K,-Chat-16K}", "yi", _YI),
    Published("01-ai/Yi-Coder-{1.5B,9B}{,-Chat}", "yi", _YI),
    Published("OrionStarAI/OrionStar-Yi-34B-Chat{,-Llama}", "apache", "README, commits b741f55 and bd1b68f", "01-ai/Yi-34B"),
    # Gemma
    Published("google/gemma-{2b,7b,1.1-2b,1.1-7b}{,-it}", "gemma", "the terms that the page asks to accept"),
    Published("google/gemma-2-{2b,9b,27b,2b-jpn}{,-it}", "gemma", _CARD),
    Published("google/codegemma-{2b,7b,7b-it,1.1-2b,1.1-7b-it}", "gemma", _CARD),
    Published("google/gemma-3-{270m,1b,4b,12b,27b}{,-pt,-it}", "gemma", _CARD),
    Published("google/gemma-3-{1b,4b,12b,27b}-it-qat-{q4_0-gguf,q4_0-unquantized,int4-unquantized}", "gemma", _CARD),
    Published("google/gemma-3n-{E2B,E4B}{,-it}", "gemma", _CARD),
    Published("google/gemma-4-31B{,-it}", "apache", "ai.google.dev/gemma/docs/gemma_4_license"),
    # Mistral
    Published("mistralai/Mistral-7B{,-Instruct}-v0.{1,2,3}", "apache", _MISTRAL),
    Published("mistralai/Mixtral-{8x7B,8x22B}{,-Instruct}-v0.1", "apache", _MISTRAL),
    Published("mistralai/{Mistral-Nemo-Base-2407,Mistral-Nemo-Instruct-2407,Mathstral-7B-v0.1,Mamba-Codestral-7B-v0.1}", "apache",
              _MISTRAL),
    Published("mistralai/Mistral-Small-{24B-Base-2501,24B-Instruct-2501,3.1-24B-Base-2503,3.1-24B-Instruct-2503,4-119B-2603}",
              "apache", _CARD),
    Published("mistralai/Ministral-3-{3B,8B,14B}-{Base,Instruct,Reasoning}-2512", "apache", _CARD),
    Published("mistralai/{Mistral-Large-3-675B-Base-2512,Mistral-Large-3-675B-Instruct-2512,Devstral-Small-2-24B-Instruct-2512}",
              "apache", _CARD),
    Published("mistralai/Codestral-22B-v0.1", "mnpl", "README: license_name mnpl"),
    Published("mistralai/Mistral-Large-Instruct-{2407,2411}", "mrl", _MISTRAL),
    Published("mistralai/{Mistral-Small-Instruct-2409,Pixtral-Large-Instruct-2411,Ministral-8B-Instruct-2410}", "mrl", _CARD),
    Published("mistralai/{Devstral-2-123B-Instruct-2512,Mistral-Medium-3.5-128B}", "mistral-modified-mit",
              "LICENSE, commits 1613bf0 and 22b2b86"),
    Published("HuggingFaceH4/zephyr-7b-{alpha,beta}", "mit", _CARD, "mistralai/Mistral-7B-v0.1"),
    Published("hfl/chinese-mixtral{,-lora,-instruct,-instruct-lora}", "apache", _CARD, "mistralai/Mixtral-8x7B-v0.1"),
    # others that are read and written here
    Published("microsoft/Phi-3-{mini-4k,mini-128k,small-8k,small-128k,medium-4k,medium-128k}-instruct", "mit", "LICENSE beside"),
    Published("microsoft/{phi-2,phi-4,Phi-3.5-mini-instruct,Phi-4-mini-instruct}", "mit", _CARD),
    Published("ibm-granite/granite-{7b,3.0-2b,3.0-8b,3.0-1b-a400m,3.0-3b-a800m,3.1-2b,3.1-8b,3.1-1b-a400m,3.1-3b-a800m}-base",
              "apache", _CARD),
    Published("ibm-granite/granite-3.{0,1}-{2b,8b,1b-a400m,3b-a800m}-instruct", "apache", _CARD),
    Published("{,openai-community/}gpt2{,-medium,-large,-xl}", "mit", "openai/gpt-2 LICENSE, a modified MIT licence; not read"),
    Published("tiiuae/falcon-{7b,7b-instruct,40b,40b-instruct,rw-1b,rw-7b}", "apache", "README, commits 21be553 and fdc4d06"),
    Published("tiiuae/falcon-180B{,-chat}", "falcon180b", "space tiiuae/falcon-180b-license"),
    Published("tiiuae/falcon-11B", "falcon2", "README, License"),
    Published("tiiuae/Falcon3-{1B,3B,7B,10B}-{Base,Instruct}", "falcon2", "the cards' license_name, falcon-llm-license"),
    Published("stabilityai/stablelm-2-{1_6b,12b}", "stability", "README, commit 43f0c4c of the 12B", text="stability-nc"),
    Published("stabilityai/stablelm-3b-4e1t", "cc-by-sa-4.0", _CARD),
    Published("moonshotai/Kimi-K2-{Base,Instruct}", "kimi", "LICENSE, commit fd1984e"),
    Published("MiniMaxAI/MiniMax-{M2,M2.5}", "minimax-modified-mit", "the card's license_name"),
    Published("{CohereLabs,CohereForAI}/c4ai-command-r-08-2024", "cc-by-nc-4.0", _CARD),
    Published("CohereLabs/{command-a-vision-07-2025,aya-vision-32b,tiny-aya-base,tiny-aya-global}", "cc-by-nc-4.0", _CARD),
)  # fmt: skip

def lineage(repository: str) -> tuple[tuple[str, Published], ...]:
    """The model and what it was made from, as far as is known; empty where nothing is known about the model itself."""
    found: list[tuple[str, Published]] = []
    name = repository
    while name and (row := _row(name)) is not None and row not in [known for _, known in found]:
        found.append((name, row))
        name = row.made_from
    return tuple(found)


def _row(repository: str) -> Published | None:
    """By the whole id, by the whole name, which a copy keeps, or by both with a line between, as some copies have it."""
    key, name = bare(repository), plain_model(repository)
    owned = name.replace("_", "/", 1)
    return _by_id().get(key) or _by_name().get(name) or _by_id().get(owned) or _by_owner().get(owned)


@cache
def _by_id() -> dict[str, Published]:
    return {name.lower(): row for row in PUBLISHED for name in spelled(row.names)}


@cache
def _by_name() -> dict[str, Published]:
    return _told_apart((plain_model(key), row) for key, row in _by_id().items())


@cache
def _by_owner() -> dict[str, Published]:
    return _told_apart((f"{key.rpartition('/')[0]}/{plain_model(key)}", row) for key, row in _by_id().items())


def _told_apart(found: Iterable[tuple[str, Published]]) -> dict[str, Published]:
    """Rows by names; a name that two licences share tells nothing."""
    rows: dict[str, set[Published]] = {}
    for key, row in found:
        rows.setdefault(key, set()).add(row)
    return {key: next(iter(held)) for key, held in rows.items() if len({(row.licence, row.made_from) for row in held}) == 1}
