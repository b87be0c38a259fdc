"""What commands write to the terminal."""


def tell(line: str, end: str = "\n") -> None:
    print(line, end=end, flush=True)  # noqa: T201 - this is what people run it for
