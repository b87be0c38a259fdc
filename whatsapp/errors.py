"""What is wrong with a request that is not, or can't be, Twilio's."""


class InvalidRequest(Exception):
    """A request to reject; `status` is the HTTP status to answer, `detail` a sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
