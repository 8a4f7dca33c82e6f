"""Build the compiled core: kernels.c once per instruction set and precision."""

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MSVC = sys.platform == "win32"
MACHINE = platform.machine().lower()
X86_64 = MACHINE in ("x86_64", "amd64") and not MSVC
# macOS wheels can be built for another architecture than that of the build machine.
if "arm64" in os.environ.get("ARCHFLAGS", ""):
    X86_64, MACHINE = False, "arm64"
NEON = MACHINE in ("aarch64", "arm64") and not MSVC

# name -> (bytes in a vector, compiler flags); never -march=native, never -ffast-math
VARIANTS = {"scalar": (0, [])}
if X86_64:
    VARIANTS["avx2"] = (32, ["-mavx2", "-mfma"])
    VARIANTS["avx512"] = (
        64,
        ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"],
    )
if NEON:
    VARIANTS["neon"] = (16, [])
if os.environ.get("MLP_VARIANTS"):  # for development: fewer variants build faster
    VARIANTS = {v: VARIANTS[v] for v in os.environ["MLP_VARIANTS"].split(",")}

DEBUG = bool(os.environ.get("MLP_DEBUG"))  # Cython's bounds checks, -O1 -g, MLP_SANITIZE
C_FLAGS = ["/O2", "/std:c11"] if MSVC else ["-O3", "-std=gnu11"]
if not MSVC:
    C_FLAGS += [
        "-Wall",
        "-Wno-unknown-pragmas",
        "-fno-math-errno",
        "-fvisibility=hidden",
        "-g0",  # debug information would be 90 % of the wheel
    ]
if DEBUG and not MSVC:
    C_FLAGS = ["-O1", "-g", "-std=gnu11", "-fno-omit-frame-pointer"]
    C_FLAGS += os.environ.get("MLP_SANITIZE", "").split()


class BuildCore(build_ext):
    """Compile kernels.c with each variant's own flags and link the objects in."""

    def build_extension(self, ext):
        macros = [(f"MLP_HAVE_{name.upper()}", None) for name in VARIANTS]
        macros.append(("MLP_FLAGS", '"' + " ".join(C_FLAGS) + '"'))
        ext.define_macros = [*ext.define_macros, *macros]
        jobs = [
            (ext, name, width, flags, double)
            for name, (width, flags) in VARIANTS.items()
            for double in (0, 1)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for objects in pool.map(lambda job: self._compile_kernels(*job), jobs):
                ext.extra_objects += objects
        super().build_extension(ext)

    def _compile_kernels(self, ext, name, width, flags, double):
        table = f"mlp_{name}_float{64 if double else 32}"
        # a separate output folder per variant, since all objects come from one source
        return self.compiler.compile(
            ["src/core/kernels.c"],
            output_dir=os.path.join(self.build_temp, table),
            macros=[
                ("MLP_DOUBLE", str(double)),
                ("MLP_VBYTES", str(width)),
                ("MLP_TABLE", table),
                ("MLP_ISA_NAME", name),
            ],
            include_dirs=ext.include_dirs,
            extra_postargs=C_FLAGS + flags,
            depends=ext.depends,
        )


def headers():
    return sorted(
        os.path.join(folder, file)
        for folder, _, files in os.walk("src/core")
        for file in files
        if file.endswith((".h", ".pxi"))
    )


def extensions():
    from Cython.Build import cythonize

    core = Extension(
        "mlp._core",
        ["src/core/binding/_core.pyx", "src/core/dispatch.c", "src/core/machine/team.c"],
        include_dirs=["src/core"],
        depends=["src/core/kernels.c", *headers()],
        extra_compile_args=C_FLAGS,
        libraries=[] if MSVC else ["m"],
        extra_link_args=[] if MSVC else ["-pthread", *C_FLAGS[4:] * DEBUG],
    )
    directives = {
        "language_level": 3,
        "boundscheck": DEBUG,
        "wraparound": False,
        "cdivision": True,
        "embedsignature": True,
        "freethreading_compatible": True,
    }
    return cythonize([core], compiler_directives=directives, build_dir="build/cython")


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildCore})
