"""Text on which a written tokenizer is compared with the source's engine, and samples by which vocabularies compare.

All of it was written for this purpose. It leans on what has gone wrong: runs of spaces, line ends, digits, full-width
forms, characters without a piece, combining marks, words that two orders of merging cut differently. It has no special
tokens.
"""

# ruff: noqa: E501, RUF001

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

SAMPLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Chinese": (
            "昨天下午，我和几位同事在公司楼下的小茶馆里讨论了新产品的发布计划。大家认为，语言模型的词表对中文不够友好，"
            "一个常用的词语往往被切成三四个字节，既浪费算力，也缩短了能读的文章。于是我们决定先收集语料，再训练新的分词器。"
        ),
        "English": (
            "The old lighthouse keeper climbed the spiral stairs every evening, counting each step under his breath. "
            "He had never missed a night, and the fishermen said they could set their clocks by the moment the lamp began to turn."
        ),
        "code": (
            "def running_mean(values, width=4):\n    total = 0.0\n    for index, value in enumerate(values):\n        total += value\n"
            "        if index >= width:\n            total -= values[index - width]\n        yield total / min(index + 1, width)\n"
        ),
        "Japanese": "駅前の本屋で古い地図を見つけました。川の流れが今とはまったく違っていて、祖父の家のあたりは湖だったようです。",
        "Russian": "Поезд опаздывал уже второй час, и пассажиры начали рассказывать друг другу истории о дальних дорогах.",
    }
)

_CHINESE = (
    "你好", "你好，世界！", "今天的天气真不错，适合出去走走。", "人工智能正在改变我们的生活方式。", "请把这段话翻译成英文。",
    "中华人民共和国成立于一九四九年。", "他说：“明天见。”然后就走了。", "繁體中文的詞語也應該保持不變。", "機器學習與深度學習有什麼分別？",
    "床头柜上放着一本没有看完的小说。", "价格为￥199.00（含税），运费另计。", "第３章　全角数字０１２３４５６７８９", "【通知】《关于放假安排的说明》",
    "乒乓球拍卖完了", "南京市长江大桥", "研究生命的起源", "结婚的和尚未结婚的", "他从马上下来", "这个门把手坏了", "把手举起来",
    "啊啊啊啊啊啊啊啊", "哈哈哈哈哈哈哈", "……——～～～", "，。！？、：；", "电话：010-8888-6666，邮箱：test@example.com",
    "2023年12月31日23时59分59秒", "三十二点五摄氏度", "龘靐齉爩", "𠮷野家", "㋿元年", "①②③④⑤", "中国科学院计算技术研究所", "一带一路", "不管三七二十一",
    "计算机程序设计语言", "自然语言处理", "神经网络的参数量超过一千亿", "上海交通大学附属中学", "我们的目标是星辰大海",
    "红红火火恍恍惚惚", "他妈的", "小明的爸爸的朋友的儿子的同学", "的的的的的", "了了了", "一二三四五六七八九十百千万亿",
    "Python是一种编程语言", "使用GPU训练LLaMA模型", "价格从100元涨到200元", "A股、B股和H股", "微信WeChat和支付宝Alipay",
)  # fmt: skip
_ENGLISH = (
    "Hello, world!", "hello", " hello", "  hello", "Hello  two  spaces", "create creation created creating recreate",
    "The quick brown fox jumps over the lazy dog.", "I can't, won't, shouldn't've; they'll, we'd, you're, I'M, IT'S.",
    "internationalization and antidisestablishmentarianism", "Mr. O'Neill paid $1,234.56 on 2024-01-02.", "3.14159 2.71828 1e-9 0xdeadbeef",
    "12345678901234567890", "1 12 123 1234 12345", "e-mail: someone@example.org", "https://example.org/a/b?c=d&e=f#g", "people philosophy develop",
    "ALL CAPITALS and MixedCase camelCase snake_case kebab-case", "naïve café résumé coöperate", "a", "I", "!", "?!", "...", "--- *** ___",
    "the the the the", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababab", "mid  two", "end with space ", "end with newline\n",
    "\"quoted\" 'single' `tick` ``double``", "100% of 50% is 50%", "C++ C# F# .NET", "1st 2nd 3rd 4th", "U.S.A. vs. U.K.", "x^2 + y^2 = z^2",
)  # fmt: skip
_CODE = (
    "for (int i = 0; i < n; ++i) { sum += a[i]; }", "if x == 1:\n\treturn None\n", "\tdef f(self):\n\t\tpass", "    four\n        eight\n            twelve",
    "SELECT name, COUNT(*) FROM users WHERE age >= 18 GROUP BY name;", "<div class=\"box\"><p>text</p></div>", "{\"key\": [1, 2.5, null, true]}",
    "git commit -m 'message' && git push", "C:\\Users\\name\\file.txt", "/usr/local/bin/python3.11", "#include <stdio.h>", "fn main() -> Result<(), Error> {}",
    "lambda x: (x**2, x//2, x%2)", "a=b+c*d/e-f", "!@#$%^&*()_+-=[]{}|;':\",./<>?", "\\frac{a}{b} + \\sqrt{c}", "$$\\int_0^1 x\\,dx$$", "// a comment",
    "```python\nprint('hi')\n```", "| a | b |\n|---|---|\n| 1 | 2 |", "- item\n- item\n  - nested", "# Title\n\n## Section\n", "\r\n windows \r\n line ends\r\n",
)  # fmt: skip
_SPACE = (" ", "  ", "   ", "    ", "     ", "        ", "                ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", " \n ", "\n \n", " \t \n", "\u3000", "\u00a0x\u00a0", "a\u200bb", "\ufeffx", "x \u2009 y")  # fmt: skip
_OTHER = (
    "Привет, как дела?", "Съешь ещё этих мягких французских булок", "Γειά σου Κόσμε", "Ça va très bien, merci !", "Über den Flüssen läuft ein schöner Weg",
    "El pingüino comió piñas y jalapeños", "São Paulo não está à venda", "Zażółć gęślą jaźń", "Příliš žluťoučký kůň", "İstanbul'da ışık", "Đường phố Việt Nam",
    "日本語のテキストです。", "カタカナとひらがな", "ﾊﾝｶｸｶﾅ ｶﾞｷﾞｸﾞ", "東京都渋谷区１－２－３", "안녕하세요 세계", "대한민국의 수도는 서울이다", "สวัสดีชาวโลก", "नमस्ते दुनिया", "কেমন আছেন",
    "مرحبا بالعالم", "שלום עולם", "እንዴት ነህ", "გამარჯობა", "Բարեւ", "ສະບາຍດີ", "မင်္ဂလာပါ", "வணக்கம்", "𐎀𐎁𐎂", "ꭩ ꓥ ᚠᚢᚦ",
)  # fmt: skip
_SIGNS = (
    "😀", "😀😁😂", "👨‍👩‍👧‍👦", "👍🏽", "🇨🇳🇺🇸", "❤️", "☀ ☁ ☂", "→ ← ↑ ↓", "∑ ∫ √ ∞ ≈ ≠ ≤ ≥", "½ ¼ ¾ ² ³", "™ © ®", "€ £ ¥ ₿", "ﬁ ﬂ ﬀ", "Ａｂｃ！？", "～＾＿｜", "℃ ㎏ ㎡", "Ⅷ ㊿ ㌔",
    "e\u0301 \u00e9", "A\u030a \u00c5", "q\u0323\u0307 q\u0307\u0323", "n\u0303o", "\u1e9b\u0323", "\u0308 alone", "█▓▒░", "▁▁▁", "│├─┤", "★☆●○", "、。「」『』", "“curly” ‘single’ – — …",
)  # fmt: skip

LINES: Final = (*_CHINESE, *_ENGLISH, *_CODE, *_SPACE, *_OTHER, *_SIGNS)
_PAIRS = tuple(f"{first}{second}" for first, second in zip(LINES, LINES[47:], strict=False))[::3]
_INDENTED = tuple(f"  {line}\n" for line in LINES[::3])

# About 300 strings: every line, some of them indented, and some run into each other without a space.
PROBE: Final = tuple(dict.fromkeys((*LINES, *_PAIRS, *_INDENTED, *SAMPLES.values())))


def specials_inside(tokens: Iterable[str]) -> tuple[str, ...]:
    """Text with special tokens in it: alone, twice, between letters, and beside spaces, line ends and other scripts."""
    return tuple(
        text
        for token in tokens
        for text in (
            token, token * 2, f"a{token}b", f" {token} x", f"x {token}", f"{token}\n{token}你好", f"灯塔{token}  的\n",
        )
    )  # fmt: skip
