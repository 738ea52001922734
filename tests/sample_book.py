"""A book of one chapter with every kind of cell, small enough to build in seconds."""

from pathlib import Path

MANIFEST = """
[book]
title.en = "Sample"
title.zh = "样书"
authors = "nobody"
src = "chapters"

[claims]
"2.1a" = {en = "one and one are two", zh = "一加一等于二"}
"2.1b" = {en = "two and two are four", zh = "二加二等于四"}

[[part]]
title.en = "Part"
title.zh = "部分"

[[part.chapter]]
slug = "01_sample"
title.en = "Sample"
title.zh = "样章"
status = "finished"
guide = ["1", "2.1"]
claims = ["2.1a"]
objectives.en = ["add"]
objectives.zh = ["做加法"]
seconds = 30
exercise_seconds = 30
points = 2

[[part.chapter]]
slug = "02_later"
title.en = "Later"
title.zh = "以后"
status = "planned"
guide = ["3"]
objectives.en = ["wait"]
objectives.zh = ["等待"]
"""

LESSON = """# %% [markdown] lang="en" name="why"
# ## Why add?
#
# Because $1 + 1$ is not obvious.
# %% [markdown] lang="zh" of="7bbb764b"
# ## 为什么要做加法？
#
# 因为 $1 + 1$ 并不显然。
# %% name="sum"
total = 1 + 1
print(total)
# %% name="time" tags=["measured"]
import random
guess = random.random()
guess
# %% name="time-range"
assert 0 <= guess < 1
# %% name="picture" tags=["free"]
import matplotlib.pyplot as plt
plt.plot([0, 1], [0, 1])
plt.show()
# %% [markdown] lang="en" role="caption"
# A line that *rises* from `0` to $1$.
# %% [markdown] lang="zh" of="9edc98e4"
# 一条从 `0` *升*到 $1$ 的直线。
# %% name="verdict"
from llmguide_lib.notebook import decide
decide("2.1a", {"two": total == 2})
# %% [markdown] lang="en" claim="2.1a"
# The guide says that one and one are two. Three would have decided otherwise.
# %% [markdown] lang="zh" of="68131761"
# 指南说一加一等于二。如果结果是三，结论就会相反。
"""

EXERCISES = """# %% [markdown] lang="en" role="exercise" exercise="add" difficulty=1 minutes=2 points=2
# ## 1. Add
#
# Write `add`.
# %% [markdown] lang="zh" of="a2ffb7c3"
# ## 1. 加法
#
# 写出 `add`。
# %% exercise="add" answer="add"
def add(a, b):
    # BEGIN SOLUTION
    return a + b
    # END SOLUTION
    # BEGIN STUB
    # return a - b
    # END STUB
# %% [markdown] lang="en" role="hints"
# 1. Look at the sign.
# 2. It is *minus*.
# 3. Write
#
#    ```python
#    return a + b
#    ```
# %% [markdown] lang="zh" of="a28202e0"
# 1. 看看符号。
# 2. 现在是*减号*。
# 3. 写成
#
#    ```python
#    return a + b
#    ```
"""


def write_sample_book(root: Path) -> Path:
    """Writes the sample book's sources under ``root`` and returns it."""
    chapter = root / "chapters" / "01_sample"
    chapter.mkdir(parents=True)
    (root / "llmguide_lib").mkdir()
    for path, text in (
        (root / "book.toml", MANIFEST),
        (root / "llmguide_lib" / "notebook.py", "seconds = 1\n"),
        (chapter / "lesson.py", LESSON),
        (chapter / "exercises.py", EXERCISES),
    ):
        path.write_text(text, encoding="utf-8")
    return root
