"""The text that the small vocabularies are trained on, and the strings that they are asked: made from word lists of ours.

Seeded, so that every machine trains the same. Words come with the frequencies of a real text (the n-th 1/n as often), and
with endings, so that merges nest; signs that are rare here are what byte fallback and `<unk>` are for.
"""

# ruff: noqa: E501, RUF001 - Chinese counts twice

from __future__ import annotations

import random
from functools import cache
from typing import Final

_ENGLISH = (
    "the of and to in a is that it was for on with as by at from this they have not are but had we an all were when out up"
    " about time people would which their other than then now only over such new some could these may first do any like my"
    " water house light harbour lantern window morning evening winter garden mountain river letter story teacher island"
    " carry count climb wander listen answer remember create develop measure translate gather whisper borrow travel return"
    " old young quiet bright narrow patient ordinary careful distant northern wooden hollow golden several"
).split()
_ENDINGS = ("", "", "", "s", "ed", "ing", "er", "ly", "ness", "ation")
_CHINESE = (
    "的 了 是 在 我们 他们 今天 昨天 时候 一个 没有 可以 知道 因为 所以 但是 如果 什么 这个 那里 城市 海边 灯塔 老师 学生 孩子 朋友 早上 晚上"
    " 语言 模型 词语 训练 数据 机器 学习 神经 网络 计算 程序 文字 故事 书本 窗户 花园 河流 大山 冬天 春天 天气 下雨 刮风 回家 出门 写信 读书 喝茶"
    " 慢慢 安静 明亮 古老 年轻 遥远 木头 金色 几位 许多 北方 南方 同事 公司 讨论 计划 发布 产品 收集 语料 分词 算力 文章 友好"
).split()
_RUSSIAN = (
    "и в не на я что он с это как по но из она так его для мы они был дом свет море письмо город утро вечер зима река учитель"
    " история дорога окно старый новый тихий далёкий деревянный читать писать слушать помнить считать возвращаться"
).split()
_ARABIC = "في من على إلى هذا كان عن مع بيت بحر نور مدينة صباح مساء شتاء نهر رسالة قصة طريق نافذة قديم جديد هادئ يقرأ يكتب".split()
_NAMES = "total value index width count items result name key line path node left right limit offset buffer table".split()
_SIGNS = ("😀", "🚀", "🌊", "👍🏽", "👨‍👩‍👧", "❤️", "→", "≤", "√", "€", "½", "①", "…", "—")
_RARE = ("龘", "靐", "𠮷", "ß", "ŵ", "ʒ", "ᚠ", "ⴰ", "ญ", "შ", "ಠ", "한", "か", "ア", "ﬁ", "Ⅷ", "㎏", "é", "é", "ǆ")
_SPACES = (" ", "  ", "   ", "    ", "        ", "\t", "\t\t", "\n", "\n\n", "\r\n", " \n ", "\u3000", "\u00a0", "\n\t ")


def _common(words: list[str], source: random.Random) -> str:
    """One of the words, the n-th of them 1/n as often as the first."""
    return source.choices(words, [1 / place for place in range(1, len(words) + 1)])[0]


def _english(source: random.Random) -> str:
    words = [_common(_ENGLISH, source) + source.choice(_ENDINGS) * (source.random() < 0.3) for _ in range(9)]
    return f"{' '.join(words).capitalize()}{source.choice(['.', ', he said.', '?', '!', ';'])}"


def _chinese(source: random.Random) -> str:
    words = [_common(_CHINESE, source) for _ in range(11)]
    return "".join(words[:6]) + "，" + "".join(words[6:]) + source.choice("。！？")


def _russian(source: random.Random) -> str:
    return " ".join(_common(_RUSSIAN, source) for _ in range(8)).capitalize() + "."


def _arabic(source: random.Random) -> str:
    return " ".join(_common(_ARABIC, source) for _ in range(7))


def _code(source: random.Random) -> str:
    one, two, three = (source.choice(_NAMES) for _ in range(3))
    return source.choice((
        f"def {one}_{two}({three}):", f"    for {one} in range({source.randint(0, 4096)}):", f"        {one} += {two}[{three}]",
        f"    return {one} / len({two})", f"if ({one} <= {two}) {{ return {three}->{one}; }}", f'{{"{one}": {source.random():.4f}}}',
        f"\t{one}.{two}({three}, key=None)\t# {one}", f"<td>{one}</td><br/>", f"SELECT {one} FROM {two} WHERE {three} = '{one}';",
    ))  # fmt: skip


def _numbers(source: random.Random) -> str:
    year, many = source.randint(1900, 2030), source.randint(0, 10**9)
    return source.choice((f"{year}年{year % 12 + 1}月", f"{many:,} of {year}", f"{many / 1000:.3f}%", f"１２３４ {many}", f"{year}"))


_LANGUAGES = (_english, _chinese, _russian, _arabic, _code, _numbers)


def _sentence(source: random.Random) -> str:
    sentence = source.choices(_LANGUAGES, (5, 5, 2, 2, 4, 2))[0](source)
    return sentence + (" " + source.choice(_SIGNS)) * (source.random() < 0.08)


@cache
def lines(count: int = 1500) -> tuple[str, ...]:
    """What vocabularies are trained on: one sentence a line, a rare character in every fortieth."""
    source = random.Random(20)
    return tuple(
        _sentence(source) + source.choice(_RARE) * (place % 40 == 0) + "  " * (place % 17 == 0) for place in range(count)
    )


def chinese(count: int = 900) -> tuple[str, ...]:
    """Chinese alone, as the pieces that are merged into a Llama were trained on."""
    source = random.Random(21)
    return tuple(_chinese(source) + _chinese(source) for _ in range(count))


def english(count: int = 900) -> tuple[str, ...]:
    """ASCII alone: a base that knows no Chinese."""
    source = random.Random(22)
    return tuple(source.choice((_english, _code))(source) for _ in range(count))


def _held_out(count: int) -> list[str]:
    """Sentences of another seed, run together with signs, spaces and rare characters between."""
    source = random.Random(23)
    joints = (*_SIGNS, *_RARE, *_SPACES, "", "")
    return [
        "".join(_sentence(source)[source.randint(0, 12) :] + source.choice(joints) for _ in range(source.randint(1, 3)))
        for _ in range(count)
    ]


def _scrambled(count: int) -> list[str]:
    source = random.Random(24)
    alphabet = [*"abcdehinorstz ABZ0123456789.,;_-(){}<>'\"\n\t", *"的一我们灯塔学", *"иенот", *"النم", *_SIGNS, *_RARE, *_SPACES]
    return ["".join(source.choice(alphabet) for _ in range(source.randint(1, 25))) for _ in range(count)]


_LITERAL = (
    "", " ", "  ", "a", " a", "a ", "  two  spaces  ", "\n", "\n\n\n", "\t\tx", "0", "1234567890", "12 345 6789", "１２３", "…", "▁", "▁▁a",
    "I can't, WON'T; we'd, they'LL", "créée", "cre\u0301e\u0301e", "A\u030a", "people philosophy", "ab\u200bc", "\ufeffab", "\u3000x\u3000",
    "\u2028x", "x\r\ny\r\n", "!!!???", "的的的的的", "ааааа", "aaaaaaaaaaaaaaaaaaaaaa", "\U0010fffd", "\ue000\ue400\ue800", "<0x41>", "<b>x</b>", "<unk", "x <0xE4> y", "x <ctl> y",
    "e\u0323\u0307", "ｶﾞｷﾞ", "～", "㋿", "ﷺ", "ﬃ", "\x01\x02", "\x7f",
)  # fmt: skip

#: what each vocabulary is asked, none of it with a special token in it
ASKED: Final = (*_LITERAL, *_held_out(70), *_scrambled(70))
