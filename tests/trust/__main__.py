"""`make trust`: writes docs/trust.md from what `make faults`, `make fuzz` and `make corpus` counted."""

from __future__ import annotations

from tests.trust.page import PAGE, page


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.name}")


if __name__ == "__main__":
    main()
