"""The gallery: pictures that a newcomer to the field should see, each computed anew by the code of this project.

`GALLERY` is the table of all of them: a new picture is one file, one line here, and its page in docs/gallery.
"""

from collections.abc import Mapping
from types import MappingProxyType

from limes.compare.gallery import (
    adaptive_kernel,
    bottlenecks,
    circle,
    covariance_sde,
    depth_transfer,
    easy_hard,
    edge,
    forecast,
    frontier,
    kernels,
    lazy_rich,
    lr_transfer,
    rank_collapse,
    resnet_depth,
)
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
        "lr-transfer": GalleryPicture(
            seen="loss against learning rate over width: the best one falls without a rule, and stays under muP",
            draw=lr_transfer.draw,
            study=lr_transfer.study,
            sources=(Source(title="Yang et al., Tensor Programs V", arxiv="2203.03466"),),
            theory=("transfer.md", "parametrize.md"),
            cpu_seconds=218,
        ),
        "depth-transfer": GalleryPicture(
            seen="loss against learning rate over depth: no rule, alpha 1/2, alpha 1",
            draw=depth_transfer.draw,
            study=depth_transfer.study,
            sources=(
                Source(title="Dey et al., CompleteP", arxiv="2505.01618"),
                Source(title="Bordelon et al., depthwise transfer in residual networks", arxiv="2309.16620"),
            ),
            theory=("transfer.md", "parametrize.md"),
            cpu_seconds=203,
        ),
        "forecast": GalleryPicture(
            seen="a large run predicted from small ones, and then trained",
            draw=forecast.draw,
            study=forecast.study,
            sources=(Source(title="Hoffmann et al., compute-optimal training", arxiv="2203.15556"),),
            theory=("laws.md", "transfer.md"),
            cpu_seconds=135,
        ),
        "bottlenecks": GalleryPicture(
            seen="L(t, N, P): the three walls of time, width and samples, each with its power",
            draw=bottlenecks.draw,
            sources=(
                Source(title="Bordelon, Atanasov & Pehlevan, a dynamical model of scaling laws", arxiv="2402.01092"),
            ),
            theory=("theory/random_features.md", "theory/scaling_exponents.md"),
            cpu_seconds=6,
        ),
        "circle": GalleryPicture(
            seen="ReLU networks on the circle: features change the power of time on the hard task",
            draw=circle.draw,
            sources=(Source(title="Bordelon, Atanasov & Pehlevan, feature learning and scaling", arxiv="2409.17858"),),
            theory=("theory/feature_learning.md",),
            cpu_seconds=83,
        ),
        "frontier": GalleryPicture(
            seen="the compute-optimal frontier and the width that lies on it",
            draw=frontier.draw,
            sources=(
                Source(title="Bordelon, Atanasov & Pehlevan, a dynamical model of scaling laws", arxiv="2402.01092"),
                Source(title="Paquette et al., 4+3 phases of compute-optimal scaling", arxiv="2405.15074"),
            ),
            theory=("theory/scaling_exponents.md", "laws.md"),
            cpu_seconds=5,
        ),
        "resnet-depth": GalleryPicture(
            seen="residual networks of growing depth become one network",
            draw=resnet_depth.draw,
            sources=(Source(title="Bordelon et al., depthwise transfer in residual networks", arxiv="2309.16620"),),
            theory=("theory/dmft_resnet.md", "theory/kernels.md"),
            cpu_seconds=20,
        ),
        "edge": GalleryPicture(
            seen="sharpness at the edge of stability, the same for all widths under muP",
            draw=edge.draw,
            sources=(
                Source(title="Cohen et al., edge of stability", arxiv="2103.00065"),
                Source(title="Noci et al., super consistency", arxiv="2402.17457"),
            ),
            theory=("edge.md",),
            cpu_seconds=17,
        ),
        "rank-collapse": GalleryPicture(
            seen="tokens become alike in a deep transformer, and the scaling of branches that prevents it",
            draw=rank_collapse.draw,
            sources=(Source(title="Noci et al., signal propagation in transformers", arxiv="2206.03126"),),
            theory=("theory/rank_collapse.md",),
            cpu_seconds=9,
        ),
        "covariance-sde": GalleryPicture(
            seen="networks as deep as wide: the correlation of two inputs follows an SDE",
            draw=covariance_sde.draw,
            sources=(Source(title="Li, Nica & Roy, the neural covariance SDE", arxiv="2206.02768"),),
            theory=("theory/covariance_sde.md",),
            cpu_seconds=9,
        ),
        "adaptive-kernel": GalleryPicture(
            seen="the kernel of Bayesian networks that learn features, beside the fixed one",
            draw=adaptive_kernel.draw,
            sources=(
                Source(title="Lauditi, Bordelon & Pehlevan, adaptive kernel predictors", arxiv="2502.07998"),
                Source(title="Lee et al., deep networks as Gaussian processes", arxiv="1711.00165"),
            ),
            theory=("theory/adaptive_kernels.md", "theory/sampled_posterior.md"),
            cpu_seconds=20,
        ),
    }
)

__all__ = ["GALLERY", "Curve", "GalleryPicture", "Panel", "Picture", "Reading"]
