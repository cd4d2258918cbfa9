//! Flags as Go's `flag` package reads them, which Legacy is written with.
