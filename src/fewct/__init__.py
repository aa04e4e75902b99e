"""fewct segments every anatomical structure on a CT slice or scan, without naming organs.

All public names stand in `__init__.pyi`; each is loaded on its first use, so that `import fewct` stays fast.

Example:
    >>> import fewct
    >>> ct, truth = fewct.phantom.phantom_slice(seed=0, size=128)
    >>> result = fewct.segment(ct)
    >>> 0 <= fewct.evaluate(truth=truth, prediction=result).overall.ari_foreground <= 1
    True
"""

import lazy_loader

from fewct._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
