"""The base networks that SAM2Adapt knows: their names; for published ones also file, size, hash and licence."""

from dataclasses import dataclass

NANO = "nano"  # comes with SAM2Adapt
ADDRESS = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"


@dataclass(frozen=True)
class BaseInfo:
    """A published base: file name, size in bytes, SHA-256 (hex), address, licence."""

    id: str
    file: str
    bytes: int
    sha256: str
    url: str
    license: str


def _official(base_id: str, size: int, sha256: str) -> BaseInfo:
    file = f"sam2.1_hiera_{base_id}.pt"
    return BaseInfo(base_id, file, size, sha256, ADDRESS + file, "Apache-2.0")


# Sizes and hashes: facebookresearch/sam2 (README, release 092824) and the LFS pages of facebook/sam2.1-hiera-*.
BASES: dict[str, BaseInfo] = {
    info.id: info
    for info in (
        _official("tiny", 156_008_466, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
        _official("small", 184_416_285, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
        _official("base_plus", 323_606_802, "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
        _official("large", 898_083_611, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    )
}

NAMES = (NANO, *BASES)
WITH_SIZES = ", ".join(f"{info.id} ({info.bytes / 1e6:.0f} MB)" for info in BASES.values())
