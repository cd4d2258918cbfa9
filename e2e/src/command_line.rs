//! The project's own cargo commands (`cargo demo`, `cargo footprint`).

use std::ffi::OsString;

/// This process's arguments, for `clap::Parser::parse_from`.
///
/// The aliases in `.cargo/config.toml` end in `--`, so that flags need none; but those who know cargo
/// write `cargo demo -- --help`, and mean the same.
#[must_use]
pub fn arguments() -> Vec<OsString> {
    without_dashes(std::env::args_os().collect())
}

fn without_dashes(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|first| first == "--") {
        arguments.remove(1);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pair_of_dashes_before_all_arguments_is_too_many() {
        for (given, wanted) in [
            (&["demo", "--", "--help"][..], &["demo", "--help"][..]),
            (&["demo", "--help"], &["demo", "--help"]),
            (&["demo", "--help", "--"], &["demo", "--help", "--"]),
            (&["demo"], &["demo"]),
        ] {
            let given = given.iter().map(OsString::from).collect();
            assert_eq!(without_dashes(given), wanted);
        }
    }
}
