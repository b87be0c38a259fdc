"""The error of a request that is not, or can't be, from Twilio."""


class InvalidRequest(Exception):
    """The request must be rejected, with the HTTP status `status` and the sentence `detail`."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
