"""A model's files in S3, where deployments keep what they ship."""

from pathlib import Path

from aws_cdk import AssetHashType
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from infra.model_files import encode_index, weight_files
from infra.models import DeployedModel


class Weights(Construct):
    """Every file of every version of a model, and the index of them at ``url``; ``scratch`` holds
    it until synthesis.

    Each has a name that follows from its content, so what did not change is not sent again, and
    workers of an older deployment still find theirs.
    """

    def __init__(self, scope: Construct, id: str, *, model: DeployedModel, scratch: Path) -> None:  # noqa: A002
        super().__init__(scope, id)
        self._assets = {
            (manifest.version, entry.path): s3_assets.Asset(
                self,
                f"{manifest.version}-{entry.path}",
                path=str(path),
                asset_hash=entry.sha256,
                asset_hash_type=AssetHashType.CUSTOM,
                display_name=f"{model.name} {manifest.version} {entry.path}",
            )
            for manifest, entry, path in weight_files(model)
        }
        scratch.mkdir(parents=True, exist_ok=True)
        index = scratch / "index.json"
        keys = {name: asset.s3_object_key for name, asset in self._assets.items()}
        index.write_text(encode_index(model.manifests, keys), "utf-8")
        self._index = s3_assets.Asset(
            self, "Index", path=str(index), display_name=f"{model.name} index of files"
        )

    @property
    def url(self) -> str:
        """``s3://bucket/key`` of the index."""
        return f"s3://{self._index.s3_bucket_name}/{self._index.s3_object_key}"

    def reading(self) -> iam.PolicyStatement:
        """Read these files and no others of the bucket that all deployments share."""
        keys = {asset.s3_object_key for asset in (self._index, *self._assets.values())}
        bucket = self._index.bucket.bucket_arn
        return iam.PolicyStatement(
            actions=["s3:GetObject"], resources=[f"{bucket}/{key}" for key in sorted(keys)]
        )
