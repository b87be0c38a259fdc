"""The paths that Twilio calls."""

WEBHOOK = "/webhook"

STATUS_CALLBACK = "/twilio-status-callback"

NO_REVIEW = "none"
"""The `review` in the status callback of cli.doctor, which tests whether a signed query arrives."""
