"""Signs people in at the local user pool, making them first.

Usage: signin.py ENDPOINT admin|analyst|customer     prints that person's ID token, good for an hour
"""

import secrets
import sys

from cloud import Cloud
from console import Failure, run, say

GROUPS = {"admin": "admin", "analyst": "analyst", "customer": None}


def sign_in(cloud, role, who=""):
    """Returns an ID token for a person of a role: the one that every stack begins with, or `who`."""
    outputs, identity = cloud.outputs(), cloud.client("cognito-idp")
    pool, name = outputs["UserPoolId"], f"{who or role}@example.com"
    # Of use for this one sign-in and kept nowhere; the fixed part is what the pool's policy asks for.
    password = f"Aa1{secrets.token_hex(16)}"
    try:
        identity.admin_create_user(
            UserPoolId=pool,
            Username=name,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": "email", "Value": name}, {"Name": "email_verified", "Value": "true"}],
        )
    except identity.exceptions.UsernameExistsException:
        pass
    if GROUPS[role]:
        identity.admin_add_user_to_group(UserPoolId=pool, Username=name, GroupName=GROUPS[role])
    identity.admin_set_user_password(UserPoolId=pool, Username=name, Password=password, Permanent=True)
    answer = identity.initiate_auth(
        ClientId=outputs["UserPoolClientId"],
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": name, "PASSWORD": password},
    )
    return answer["AuthenticationResult"]["IdToken"]


def main():
    """The command."""
    if sys.argv[2] not in GROUPS:
        raise Failure(f"there is no role {sys.argv[2]}", f"the roles: {', '.join(GROUPS)}")
    say(sign_in(Cloud(sys.argv[1]), sys.argv[2]))


if __name__ == "__main__":
    run(main)
