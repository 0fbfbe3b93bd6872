# -*- test-case-name: tests.plugins.route53.test_route53 -*-
"""
Credentials of AWS from where its tools look for them.

In this order: the Corefile's own, the environment, a web identity (a role for a Kubernetes service account), the shared credentials file,
the endpoint of a container, and the instance's metadata. Temporary ones are asked for again before they end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from configparser import ConfigParser, Error
from datetime import datetime
from urllib.parse import urlencode

import msgspec

from kdns.cluster.credentials import CredentialsError, read_file
from kdns.plugins.route53.listing import error_text
from kdns.plugins.route53.signing import Credentials
from kdns.plugins.stores.rest import Refusal, RestClient, StoreProblem, short

RENEW_BEFORE = 300.0
"""Seconds before the end of temporary credentials at which others are asked for."""

METADATA = "http://169.254.169.254"
CONTAINER = "http://169.254.170.2"
METADATA_PATIENCE = 2.0
"""Seconds for an answer of the metadata service, which is on the same machine where it is at all."""

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class _Issued(msgspec.Struct):
    AccessKeyId: str
    SecretAccessKey: str
    Token: str = ""
    Expiration: str = ""


_ISSUED = msgspec.json.Decoder(_Issued)


class CredentialChain:
    """
    Find credentials, and keep them while they hold.

    :param static: those of the Corefile.
    :param profile, file: of the shared credentials file, where the Corefile names them.
    :param metadata: the URL of the instance's metadata service.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        wall: Callable[[], float],
        static: Credentials | None = None,
        profile: str = "",
        file: str = "",
        metadata: str = METADATA,
    ) -> None:
        self._environment = environment
        self._wall = wall
        self._static = static
        self._profile = profile
        self._file = file
        self._metadata = metadata
        self._found: Credentials | None = None

    async def current(self, client: RestClient) -> Credentials:
        """
        Credentials that hold for some minutes at least.

        :raises StoreProblem: there are none.
        """
        found = self._found
        if found is None or (found.expires is not None and self._wall() >= found.expires - RENEW_BEFORE):
            found = self._found = await self._find(client)
        return found

    def refused(self) -> None:
        """AWS does not take them: look again."""
        self._found = None

    async def _find(self, client: RestClient) -> Credentials:
        get = self._environment.get
        if self._static is not None:
            return self._static
        if not self._profile and get("AWS_ACCESS_KEY_ID") and get("AWS_SECRET_ACCESS_KEY"):
            return Credentials(
                get("AWS_ACCESS_KEY_ID", ""), get("AWS_SECRET_ACCESS_KEY", ""), get("AWS_SESSION_TOKEN", "")
            )
        if not self._profile and get("AWS_WEB_IDENTITY_TOKEN_FILE") and get("AWS_ROLE_ARN"):
            return await self._by_web_identity(client)
        shared = self._shared()
        if shared is not None:
            return shared
        if get("AWS_CONTAINER_CREDENTIALS_FULL_URI") or get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
            return await self._of_container(client)
        if get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise StoreProblem("no credentials of AWS: none in the Corefile, environment or shared credentials file")
        return await self._of_instance(client)

    def _shared(self) -> Credentials | None:
        get = self._environment.get
        home = get("HOME", "")
        path = (
            self._file
            or get("AWS_SHARED_CREDENTIALS_FILE", "")
            or (os.path.join(home, ".aws", "credentials") if home else "")
        )
        profile = self._profile or get("AWS_PROFILE", "") or "default"
        if not path or (not self._profile and not os.path.exists(path)):
            return None
        parser = ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(read_file(path).decode("utf-8", "replace"))
        except (CredentialsError, Error) as error:
            raise StoreProblem(f"credentials of AWS: {short(str(error))}") from None
        if not parser.has_section(profile):
            if self._profile:
                raise StoreProblem(f"credentials of AWS: there is no profile {short(profile)} in {path}")
            return None
        section = parser[profile]
        if not section.get("aws_access_key_id") or not section.get("aws_secret_access_key"):
            raise StoreProblem(
                f"credentials of AWS: profile {short(profile)} in {path} has no access key;"
                " roles, single sign-on and programs are not followed"
            )
        return Credentials(
            section["aws_access_key_id"], section["aws_secret_access_key"], section.get("aws_session_token", "")
        )

    async def _by_web_identity(self, client: RestClient) -> Credentials:
        get = self._environment.get
        try:
            token = read_file(get("AWS_WEB_IDENTITY_TOKEN_FILE", "")).decode("ascii").strip()
        except (CredentialsError, UnicodeDecodeError) as error:
            raise StoreProblem(f"credentials of AWS: web identity: {error}") from None
        region = get("AWS_REGION", "") or get("AWS_DEFAULT_REGION", "")
        endpoint = get("AWS_ENDPOINT_URL_STS", "") or sts_endpoint(region)
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": get("AWS_ROLE_ARN", ""),
            "RoleSessionName": get("AWS_ROLE_SESSION_NAME", "") or "kdns",
            "WebIdentityToken": token,
        }
        try:
            reply = await client.ask("POST", f"{endpoint.rstrip('/')}/", _FORM, urlencode(form).encode())
        except Refusal as refusal:
            raise StoreProblem(
                f"credentials of AWS: {endpoint}: {short(error_text(refusal.body)) or refusal.status}"
            ) from None
        text = reply.body.decode("utf-8", "replace")

        def part(tag: str) -> str:
            match = re.search(f"<{tag}>([^<]+)</{tag}>", text)
            return match[1].strip() if match else ""

        found = _Issued(part("AccessKeyId"), part("SecretAccessKey"), part("SessionToken"), part("Expiration"))
        return _credentials(found, endpoint)

    async def _of_container(self, client: RestClient) -> Credentials:
        get = self._environment.get
        url = get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "") or CONTAINER + get(
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", ""
        )
        token = get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        path = get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")
        if path:
            try:
                token = read_file(path).decode("ascii").strip()
            except (CredentialsError, UnicodeDecodeError) as error:
                raise StoreProblem(f"credentials of AWS: container: {error}") from None
        reply = await _asked(client, "GET", url, {"Authorization": token} if token else {}, METADATA_PATIENCE)
        return _credentials(_issued(reply, url), url)

    async def _of_instance(self, client: RestClient) -> Credentials:
        base = self._environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/") or self._metadata
        wish = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
        try:
            token = (await client.ask("PUT", f"{base}/latest/api/token", wish, b"", METADATA_PATIENCE)).body
            headers = {"X-aws-ec2-metadata-token": token.decode("ascii", "replace").strip()}
            path = f"{base}/latest/meta-data/iam/security-credentials/"
            role = (await client.ask("GET", path, headers, b"", METADATA_PATIENCE)).body.decode("ascii", "replace")
            role = role.split("\n")[0].strip()
            if not re.fullmatch(r"[\w+=,.@-]{1,128}", role):
                raise StoreProblem(f"{base}: the instance has no role")
            reply = await client.ask("GET", path + role, headers, b"", METADATA_PATIENCE)
        except StoreProblem as problem:
            raise StoreProblem(
                "no credentials of AWS: none in the Corefile, environment or shared credentials file, and the metadata of an instance:"
                f" {problem}"
            ) from None
        return _credentials(_issued(reply.body, base), base)


def sts_endpoint(region: str) -> str:
    """The URL of the Security Token Service of a region; the global one where there is none."""
    if not region:
        return "https://sts.amazonaws.com"
    return f"https://sts.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


async def _asked(client: RestClient, method: str, url: str, headers: Mapping[str, str], patience: float) -> bytes:
    try:
        return (await client.ask(method, url, headers, b"", patience)).body
    except (StoreProblem, ValueError) as problem:
        raise StoreProblem(f"credentials of AWS: {problem}") from None


def _issued(body: bytes, where: str) -> _Issued:
    try:
        return _ISSUED.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreProblem(f"credentials of AWS: {where}: {short(str(error))}") from None


def _credentials(found: _Issued, where: str) -> Credentials:
    expires: float | None = None
    if found.Expiration:
        try:
            expires = datetime.fromisoformat(found.Expiration.replace("Z", "+00:00")).timestamp()
        except ValueError:
            raise StoreProblem(f"credentials of AWS: {where}: no time: {short(found.Expiration)}") from None
    fields = (found.AccessKeyId, found.SecretAccessKey, found.Token)
    if not all(fields[:2]) or not all(text.isascii() and text.isprintable() for text in fields):
        raise StoreProblem(f"credentials of AWS: {where}: an answer without usable credentials")
    return Credentials(*fields, expires)
