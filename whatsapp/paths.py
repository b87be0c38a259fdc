"""The addresses that Twilio calls."""

WEBHOOK = "/webhook"

STATUS_CALLBACK = "/twilio-status-callback"

NO_REVIEW = "none"
"""The `review` of the doctor's own callback. It shows whether a query arrives as it was signed."""
