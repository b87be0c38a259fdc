"""The usual design: conversations in a module's dict, a session dependency, commit in the endpoint.

It believes everybody, and takes a message that comes twice for the next answer.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Form, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from twilio.twiml.messaging_response import MessagingResponse

from db.engine import normalise_url

engine = create_engine(normalise_url(os.environ["DATABASE_URL"]))
SessionLocal = sessionmaker(bind=engine)


class Base(DeclarativeBase):
    pass


class Review(Base):
    __tablename__ = "reviews"
    id: Mapped[int] = mapped_column(primary_key=True)
    contact_number: Mapped[str]
    user_name: Mapped[str]
    product_name: Mapped[str]
    product_review: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class ReviewOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    contact_number: str
    user_name: str
    product_name: str
    product_review: str
    created_at: datetime


Base.metadata.create_all(engine)

app = FastAPI()
conversations: dict[str, dict[str, str]] = {}


def get_db() -> Iterator[Session]:
    db = SessionLocal()
    try:
        yield db
    finally:
        db.close()


@app.post("/webhook")
def webhook(
    From: Annotated[str, Form()],
    Body: Annotated[str, Form()],
    db: Annotated[Session, Depends(get_db)],
) -> Response:
    number = From.removeprefix("whatsapp:")
    answers = conversations.setdefault(number, {"step": "start"})
    if answers["step"] == "start":
        answers["step"], reply = "product", "Hi! Which product is this review for?"
    elif answers["step"] == "product":
        answers["product"], answers["step"] = Body, "name"
        reply = "Okay, got it. What's your name?"
    elif answers["step"] == "name":
        answers["name"], answers["step"] = Body, "review"
        reply = f"Please send your review for {answers['product']}."
    else:
        review = Review(
            contact_number=number,
            user_name=answers["name"],
            product_name=answers["product"],
            product_review=Body,
        )
        db.add(review)
        db.commit()
        db.refresh(review)
        del conversations[number]
        reply = (
            f"Thanks {review.user_name} -- your review for {review.product_name} has been recorded."
        )
    response = MessagingResponse()
    response.message(reply)
    return Response(str(response), media_type="application/xml")


@app.get("/api/reviews")
def list_reviews(db: Annotated[Session, Depends(get_db)]) -> list[ReviewOut]:
    rows = db.query(Review).order_by(Review.created_at.desc()).all()
    return [ReviewOut.model_validate(row) for row in rows]
