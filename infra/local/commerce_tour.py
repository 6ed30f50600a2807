"""The tour of commerce: somebody signs up and buys, and each order is followed to its end, with the stock beside it."""

import datetime
import decimal
import json
import secrets
import time
import urllib.error
import urllib.request
import uuid

from api import Api, Refusal
from console import Failure, say, step

TREE = [
    ("Home", None),
    ("Lighting", "Home"),
    ("Desk lamps", "Lighting"),
    ("Floor lamps", "Lighting"),
    ("Kitchen", "Home"),
    ("Kettles", "Kitchen"),
]
PRODUCTS = [
    ("TOUR-LAMP-1", "Desk lamp", "34.88", "Desk lamps"),
    ("TOUR-LAMP-2", "Reading lamp", "59.00", "Desk lamps"),
    ("TOUR-LAMP-3", "Floor lamp", "129.50", "Floor lamps"),
    ("TOUR-KETTLE-1", "Kettle", "45.90", "Kettles"),
]
LAMP, KETTLE = "TOUR-LAMP-1", "TOUR-KETTLE-1"
STOCKED = 100
SCARCE = 3
ADDRESS = {
    "recipient": "Jane Tan",
    "line1": "1 Raffles Place",
    "city": "Singapore",
    "postal_code": "048616",
    "country": "SG",
    "phone": "+65 6123 4567",
}
CURRENCY = "SGD"
SETTLE_SECONDS = 60
POLL_SECONDS = 0.1
MAILBOX = "/_ministack/ses/messages"
DEFECT = "on a fresh stack (make down, make demo) this is a defect: please report it"


class Tour:
    """The walk, with what it needs on the way."""

    def __init__(self, cloud):
        self._cloud, self._outputs = cloud, cloud.outputs()
        self._machines = cloud.client("stepfunctions")
        self._admin = Api.of_person(cloud, "admin")
        self._anybody = Api(self._outputs["ApiUrl"], {})
        self.email, token = self._sign_up()
        self._customer = Api(self._outputs["ApiUrl"], {"Authorization": f"Bearer {token}"})

    def _sign_up(self):
        """Makes somebody new, who signs in and then renews the token; returns their e-mail address and an ID token."""
        identity, client = self._cloud.client("cognito-idp"), self._outputs["UserPoolClientId"]
        email, password = f"jane-{secrets.token_hex(4)}@example.com", f"Aa1{secrets.token_hex(16)}"
        say(f"▸ {email} signs up, signs in and has the token renewed")
        attributes = [{"Name": "email", "Value": email}, {"Name": "name", "Value": ADDRESS["recipient"]}]
        identity.sign_up(ClientId=client, Username=email, Password=password, UserAttributes=attributes)
        # A person types the code that came by e-mail; an administrator can vouch for them.
        identity.admin_confirm_sign_up(UserPoolId=self._outputs["UserPoolId"], Username=email)
        credentials = {"USERNAME": email, "PASSWORD": password}
        first = identity.initiate_auth(ClientId=client, AuthFlow="USER_PASSWORD_AUTH", AuthParameters=credentials)
        refresh = {"REFRESH_TOKEN": first["AuthenticationResult"]["RefreshToken"]}
        renewed = identity.initiate_auth(ClientId=client, AuthFlow="REFRESH_TOKEN_AUTH", AuthParameters=refresh)
        return email, renewed["AuthenticationResult"]["IdToken"]

    def introduce(self):
        """The new customer's profile, which the first use makes where the sign-up's trigger did not, and an address."""
        profile, headers = self._customer.call("GET", "/api/customers/me/")
        etag = {"If-Match": headers["ETag"]}
        self._customer.call("POST", "/api/customers/me/addresses/", headers=etag, body={"type": "shipping"} | ADDRESS)
        say(f"  customer {profile['customer_id']}, with an address to send to")

    def stock_up(self):
        """Makes what of the categories, the products and their stock is not there yet."""
        places = {node["name"]: node["id"] for node, _ in walk(self._tree())}
        for name, parent in TREE:
            if name not in places:
                body = {"name": name, "slug": f"tour-{name.lower().replace(' ', '-')}"}
                body |= {"parent_id": places[parent]} if parent else {}
                places[name] = self._admin.call("POST", "/api/catalog/categories/", body=body)[0]["id"]
        for sku, name, price, category in PRODUCTS:
            price = {"amount": price, "currency": CURRENCY}
            body = {"sku": sku, "name": name, "price": price, "category_ids": [places[category]]}
            try:
                self._admin.call("POST", "/api/catalog/products/", body=body)
            except Refusal as refusal:
                if refusal.status != 409:
                    raise
            self._set_stock(sku, SCARCE if sku == KETTLE else STOCKED)

    def _set_stock(self, sku, available):
        stock, headers = self._stock(sku)
        if stock["available"] != available:
            body = {"available": available, "reason": "the tour's shelves are filled"}
            self._admin.call("PUT", f"/api/catalog/stock/{sku}/", headers={"If-Match": headers["ETag"]}, body=body)

    def _stock(self, sku):
        return self._admin.call("GET", f"/api/catalog/stock/{sku}/")

    def _tree(self):
        return self._anybody.call("GET", "/api/catalog/tree/")[0]["data"]

    def browse(self):
        """Prints the tour's part of the tree as anybody sees it, with what each category's products cost on average."""
        root = next(node for node in self._tree() if node["name"] == TREE[0][0])
        for node, lead in walk([root]):
            found, _ = self._anybody.call("GET", f"/api/catalog/categories/{node['id']}/avg_price/")
            average = found["average_price"]
            shown = f"{found['product_count']} for {average['amount']} {average['currency']}" if average else "none"
            say(f"  {lead + node['name']:24}{shown}")

    def order(self, title, sku, quantity, method, wanted, key=None):
        """Places an order, follows its saga and prints what became of it and of the stock; returns it."""
        say(f"▸ {title}: {quantity} × {sku} by {method}")
        before = self._stock(sku)[0]
        body = {
            "items": [{"sku": sku, "quantity": quantity}],
            "shipping_address": ADDRESS,
            "payment_method": method,
        }
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        placed, answer = self._customer.call("POST", "/api/orders/", headers=headers, body=body)
        again = answer.get("Idempotent-Replayed") == "true"
        total = placed["totals"]["total"]
        say(f"  {placed['id']}, {total['amount']} {total['currency']}{', as before' if again else ''}")
        self._follow(placed["id"])
        order, _ = self._customer.call("GET", f"/api/orders/{placed['id']}/")
        if order["status"] != wanted:
            raise Failure(f"{order['id']} is {order['status']}, and should be {wanted}", DEFECT)
        self._check_stock(before, self._stock(sku)[0], 0 if again or wanted != "confirmed" else quantity)
        return order, again

    def _follow(self, order):
        """Waits for the end of an order's saga, and prints the states it went through and what the customer reads."""
        execution = f"{self._outputs['OrderSagaArn'].replace(':stateMachine:', ':execution:')}:{order}"
        deadline = time.monotonic() + SETTLE_SECONDS
        while (status := self._status(execution)) in (None, "RUNNING"):
            if time.monotonic() > deadline:
                raise Failure(f"the saga of {order} has not ended after {SETTLE_SECONDS} s", DEFECT)
            time.sleep(POLL_SECONDS)
        history = self._machines.get_execution_history(executionArn=execution, maxResults=1000)["events"]
        say(f"  saga: {' → '.join(passed(history))}")
        if status != "SUCCEEDED":
            raise Failure(f"the saga of {order} ended as {status}", DEFECT)
        track, _ = self._customer.call("GET", f"/api/orders/{order}/track/")
        for moment in track["timeline"]:
            detail = f" ({moment['detail']})" if moment["detail"] else ""
            say(f"  {moment['at'][11:23]}  {moment['message']}{detail}")

    def _status(self, execution):
        try:
            return self._machines.describe_execution(executionArn=execution)["status"]
        except self._machines.exceptions.ExecutionDoesNotExist:
            return None

    def _check_stock(self, before, after, sold):
        """Prints the stock before and after an order, and fails where units went missing or came from nowhere."""
        counted = ("available", "reserved", "sold")
        say("  stock: " + ", ".join(f"{name} {before[name]} → {after[name]}" for name in counted))
        for stock in (before, after):
            if sum(stock[name] for name in counted) != stock["received"] or min(stock[name] for name in counted) < 0:
                raise Failure(f"the stock does not add up to what was received: {stock}", DEFECT)
        if after["reserved"] or after["sold"] - before["sold"] != sold or after["received"] != before["received"]:
            raise Failure(f"{after['sold'] - before['sold']} were sold, and {sold} should have been", DEFECT)

    def revenue(self):
        """What orders brought in yesterday, today and tomorrow, for a day may end on the way."""
        today = datetime.datetime.now(datetime.UTC).date()
        span = {"start": today - datetime.timedelta(days=1), "end": today + datetime.timedelta(days=1)}
        body, _ = self._admin.call("GET", "/api/metrics/v1/revenue/", source="orders", **span)
        return decimal.Decimal(body["total_revenue"]["amount"])

    def settle_revenue(self, before, order):
        """Waits until an order has come through the stream, the event bus and its queue into the revenue."""
        wanted = before + decimal.Decimal(order["totals"]["total"]["amount"])
        deadline = time.monotonic() + SETTLE_SECONDS
        while (found := self.revenue()) != wanted:
            if time.monotonic() > deadline:
                raise Failure(f"the revenue of orders is {found}, and should be {wanted}", DEFECT)
            time.sleep(POLL_SECONDS)
        say(f"▸ revenue of orders: {before} → {found}")

    def read_mail(self, orders):
        """Waits for the customer's e-mails, one of each order, and prints the first; only where they can be read."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (mails := self._mails(orders)) is not None and len(mails) < len(orders):
            if time.monotonic() > deadline:
                raise Failure(f"{len(mails)} e-mails came of {len(orders)} orders", "NotificationSend's log says why")
            time.sleep(POLL_SECONDS)
        if mails is None:
            return
        say(f"▸ {self.email} has got {len(mails)} e-mails of {len(orders)} orders; of the first one:")
        for line in [mails[0]["Subject"], "", *mails[0]["BodyText"].strip().splitlines()]:
            say(f"  │ {line}".rstrip())
        if len(mails) > len(orders):
            raise Failure("there should be one e-mail of each order", DEFECT)

    def _mails(self, orders):
        """The e-mails of each order in turn, or None where nobody can look into the mailbox."""
        try:
            with urllib.request.urlopen(self._cloud.endpoint + MAILBOX, timeout=10) as answer:
                accounts = json.load(answer)["messages"].values()
        except (urllib.error.HTTPError, ValueError, KeyError):
            return None
        mails = [mail for found in accounts for mail in found if self.email in mail["To"]]
        return [mail for order in orders for mail in mails if order["id"] in mail["Subject"] + mail["BodyText"]]


def walk(nodes, lead=None):
    """The nodes of a tree from the top down, each with the branches that lead to it; there are none to the top."""
    for place, node in enumerate(nodes, 1):
        branch, below = ("└─ ", "   ") if place == len(nodes) else ("├─ ", "│  ")
        yield node, "" if lead is None else lead + branch
        yield from walk(node["children"], "" if lead is None else lead + below)


def passed(history):
    """The states that an execution went through, each with the errors that it met there."""
    states = []
    for event in history:
        if entered := event.get("stateEnteredEventDetails"):
            states.append(entered["name"])
        elif failed := event.get("taskFailedEventDetails"):
            states[-1] += f" ✗ {failed['error']}"
    return states


def take(cloud):
    """Takes the tour; returns the order that succeeded."""
    tour = Tour(cloud)
    tour.introduce()
    with step("filling the shelves: categories, products, stock"):
        tour.stock_up()
    say("▸ browsing, as anybody may")
    tour.browse()
    revenue, key = tour.revenue(), str(uuid.uuid4())
    lamps = LAMP, 2, "sandbox-approve", "confirmed"
    bought, _ = tour.order("an order that goes through", *lamps, key)
    declined, _ = tour.order("one whose payment is declined", LAMP, 1, "sandbox-insufficient-funds", "cancelled")
    short, _ = tour.order("one of which there is too little", KETTLE, SCARCE + 1, "sandbox-approve", "cancelled")
    replayed, again = tour.order("the first one sent again, with the same key", *lamps, key)
    if not again or replayed["id"] != bought["id"]:
        raise Failure(f"the same key made {replayed['id']} of {bought['id']}", DEFECT)
    tour.settle_revenue(revenue, bought)
    tour.read_mail([bought, declined, short])
    return bought["id"]
