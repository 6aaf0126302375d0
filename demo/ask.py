"""The greedy answer of a checkpoint, loaded by transformers as anyone would load it.

python -m demo.ask DIRECTORY [QUESTION]
"""

import sys
from pathlib import Path

QUESTION = "What is the capital of France?"


def ask(directory: Path, question: str = QUESTION, *, new_tokens: int = 40) -> str:
    """What the model in `directory` says to `question`, put through its chat template when it has one.

    Greedy and in float32, so that two directories which hold the same function give the same text.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    prompt = question
    if tokenizer.chat_template is not None:
        turns = [{"role": "user", "content": question}]
        prompt = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=tokenizer.chat_template is None)
    with torch.inference_mode():
        output = model.generate(  # type: ignore[misc]
            inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=model.config.pad_token_id or 0,
        )
    answer = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return str(answer).strip()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m demo.ask DIRECTORY [QUESTION]")
    print(ask(Path(sys.argv[1]), *sys.argv[2:]))
