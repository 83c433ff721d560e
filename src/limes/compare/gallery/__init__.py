"""The gallery: pictures that a newcomer to the field should see, each computed anew by the code of this project.

`GALLERY` is the table of all of them: a new picture is one file, one line here, and its page in docs/gallery.
"""

from collections.abc import Mapping
from types import MappingProxyType

from limes.compare.gallery import easy_hard, kernels, lazy_rich
from limes.compare.gallery.picture import Curve, GalleryPicture, Panel, Picture, Reading
from limes.core.source import Source

GALLERY: Mapping[str, GalleryPicture] = MappingProxyType(
    {
        "lazy-rich": GalleryPicture(
            seen="lazy against rich learning: trained networks under the curve of their infinitely wide limit",
            draw=lazy_rich.draw,
            sources=(
                Source(title="Bordelon & Pehlevan, self-consistent dynamical field theory", arxiv="2205.09653"),
                Source(title="Bordelon & Pehlevan, dynamics of finite width kernels", arxiv="2304.03408"),
            ),
            theory=("theory/dmft.md", "theory/dmft_finite_width.md"),
            cpu_seconds=21,
        ),
        "kernels": GalleryPicture(
            seen="kernels of finite networks against the one kernel of the infinite network",
            draw=kernels.draw,
            sources=(Source(title="Jacot, Gabriel & Hongler, neural tangent kernel", arxiv="1806.07572"),),
            theory=("theory/kernels.md",),
            cpu_seconds=5,
        ),
        "easy-hard": GalleryPicture(
            seen="feature learning changes the power of time for hard tasks only",
            draw=easy_hard.draw,
            sources=(Source(title="Bordelon, Atanasov & Pehlevan, feature learning and scaling", arxiv="2409.17858"),),
            theory=("theory/feature_learning.md",),
            cpu_seconds=9,
        ),
    }
)

__all__ = ["GALLERY", "Curve", "GalleryPicture", "Panel", "Picture", "Reading"]
