//! Legacy as its users know it, with fault knobs for tests.
