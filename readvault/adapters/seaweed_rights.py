"""Who may do what in SeaweedFS: its identities with their policies, and its own inner passwords."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from readvault.config import S3Credentials

IDENTITIES = ("upload_signer", "read_signer", "worker", "maintainer")
JWT_SECTIONS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
JWT_SECONDS = 60


def identities(keys: Mapping[str, S3Credentials], buckets: str) -> dict[str, Any]:
    """The content of s3.json. `buckets` names one bucket or is a pattern like `test-*`.

    Policies, not SeaweedFS's older action lists: there, the right to write is also one to delete.
    """
    policies = [
        {"name": name, "content": json.dumps({"Version": "2012-10-17", "Statement": statements})}
        for name, statements in _rights(buckets).items()
    ]
    return {"identities": [_identity(name, keys[name], buckets) for name in IDENTITIES], "policies": policies}


def security(passwords: Mapping[str, str]) -> str:
    """The content of security.toml: without it SeaweedFS's other HTTP ports serve anybody."""
    return "\n".join(
        f'[{section}]\nkey = "{passwords[section]}"\nexpires_after_seconds = {JWT_SECONDS}\n'
        for section in JWT_SECTIONS
    )


def _rights(buckets: str) -> dict[str, list[dict[str, Any]]]:
    bucket = f"arn:aws:s3:::{buckets}"
    everything = f"{bucket}/*"
    return {
        "upload_signer": [_allow(f"{bucket}/incoming/*", "PutObject")],
        # Manifests with their private parts, and records, are given to nobody by a URL.
        "read_signer": [
            _allow(f"{bucket}/{files}/*", "GetObject", "GetObjectVersion") for files in ("incoming", "vault", "exports")
        ],
        "worker": [
            _allow(bucket, "ListBucket", "ListBucketVersions", "ListBucketMultipartUploads"),
            _allow(everything, "GetObject", "GetObjectVersion", "PutObject"),
            _allow(everything, "ListMultipartUploadParts", "AbortMultipartUpload"),
            _allow(everything, "GetObjectRetention", "PutObjectRetention"),
            # Of versions that no lock holds: lifting a lock would need BypassGovernanceRetention.
            _allow(everything, "DeleteObject", "DeleteObjectVersion"),
        ],
    }


def _identity(name: str, keys: S3Credentials, buckets: str) -> dict[str, Any]:
    credentials = {"accessKey": keys.access_key, "secretKey": keys.secret_key.get_secret_value()}
    held = {"actions": ["Admin"]} if name == "maintainer" else {"policyNames": [name]}
    if name == "upload_signer":
        # A POST of a form is refused to whoever lacks this older action on the whole bucket, before its key
        # is looked at. Where there is a policy it opens nothing else: the policy decides, of forms too.
        held["actions"] = [f"Write:{buckets}"]
    return {"name": name, "credentials": [credentials], **held}


def _allow(resource: str, *actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": [f"s3:{action}" for action in actions], "Resource": [resource]}
