"""`run.py chat`: be the customer, in the terminal."""

from core.console import tell
from simulator.customer import Customer
from simulator.fake_twilio import Simulator
from simulator.twiml_reader import NotAnswered


def chat(twilio: Simulator, contact: str | None) -> None:
    """Let a person be the customer, in the terminal."""
    customer = Customer(twilio, contact) if contact else Customer(twilio)
    tell(f"You are {customer.contact}. Write something; an empty line sends a photo; Ctrl-D ends.")
    while True:
        try:
            text = input("\nyou: ")
        except (EOFError, KeyboardInterrupt, RuntimeError):  # the last: stdin or stdout is closed
            tell("")
            return
        try:
            answer = customer.says(text) if text.strip() else customer.sends_photo()
        except NotAnswered as error:
            tell(f"     (no answer: {error})")
        else:
            tell(f"bot: {answer}")
