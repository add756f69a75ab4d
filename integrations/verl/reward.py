"""Reward for rows that `memtrain tasks export --format verl` writes.

verl: custom_reward_function.path=<this file> custom_reward_function.name=compute_score
"""

WINDOW = 300  # characters at the end of a response in which the box is looked for


def last_boxed(text):
    """Contents of the last `\\boxed{...}` whose braces match, or None."""
    opening = "\\boxed{"
    start = text.rfind(opening)
    while start >= 0:
        depth = 1
        for at in range(start + len(opening), len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                return text[start + len(opening) : at]
        start = text.rfind(opening, 0, start)
    return None


def bare(text):
    return "".join(text.split()).lower()


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    """1.0 where the boxed answer is one of the accepted ones, lower-cased and without spaces; else 0.0."""
    accepted = [ground_truth] if isinstance(ground_truth, str) else list(ground_truth)
    boxed = last_boxed(solution_str[-WINDOW:])
    if boxed is None or not bare(boxed):
        return 0.0
    return float(any(bare(boxed) == bare(answer) for answer in accepted))
