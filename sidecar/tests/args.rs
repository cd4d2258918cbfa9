//! The command line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use listen::Address;

use sidecar::args::{Args, ArgsError, HELP, Parsed};
use sidecar::log::Level;

fn parse(arguments: &[&str]) -> Result<Args, ArgsError> {
    Args::parse(arguments).map(|parsed| match parsed {
        Parsed::Run(args) => args,
        Parsed::Print(text) => panic!("prints {text}"),
    })
}

#[test]
fn no_arguments_are_the_defaults() {
    assert_eq!(parse(&[]), Ok(Args::default()));
}

#[test]
fn what_the_webhook_writes_is_understood() {
    let args = parse(&[
        "--legacy-port=3001",
        "--half-file=/etc/secret-handshake/half",
        "--listen=:13301",
        "--secret=operations",
        "--secret-key=legacy",
        "--namespace=demo",
        "--log-level=debug",
    ])
    .unwrap();
    assert_eq!((args.legacy_port, args.listen), (3001, Address::All(13301)));
    assert_eq!(args.half_file, Path::new("/etc/secret-handshake/half"));
    assert_eq!((args.secret, args.secret_key), (Some("operations".into()), "legacy".into()));
    assert_eq!(args.namespace.as_deref(), Some("demo"));
    assert_eq!(args.log_level, Level::Debug);
}

#[test]
fn a_value_may_be_an_argument_of_its_own_and_the_last_one_counts() {
    let args = parse(&["--hold", "1s", "--hold=2s"]).unwrap();
    assert_eq!(args.hold, Duration::from_secs(2));
}

#[test]
fn the_help_names_each_flag_with_its_default() {
    let (_, flags) = HELP.split_once("\n\n").unwrap();
    let mut count = 0;
    for entry in flags.split("\n  --").skip(1) {
        let flag = format!("--{}", entry.split(' ').next().unwrap());
        let default = entry.split_once("(default ").map(|(_, rest)| rest.split(')').next());
        match default {
            Some(default) => {
                assert_eq!(parse(&[&flag, default.unwrap()]), Ok(Args::default()), "{flag}");
            }
            None => assert!(["--namespace", "--secret"].contains(&flag.as_str()), "{flag}"),
        }
        count += 1;
    }
    assert_eq!(count, 10);
    assert!(HELP.lines().all(|line| line.len() <= 110));
}

#[test]
fn the_help_and_the_version_are_printed_wherever_they_stand() {
    for arguments in [&["--help"][..], &["-h"], &["--hold=1s", "--help", "--nonsense"]] {
        assert_eq!(Args::parse(arguments), Ok(Parsed::Print(HELP)));
    }
    for argument in ["--version", "-V"] {
        assert!(matches!(Args::parse([argument]), Ok(Parsed::Print(text)) if text != HELP));
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let table: [(&[&str], &str); 14] = [
        (&["--nonsense"], "unknown flag --nonsense; --help lists them all"),
        (&["--nonsense=value"], "unknown flag --nonsense; --help lists them all"),
        (&["-x"], "unknown flag -x; --help lists them all"),
        (&["value"], "an argument is not a flag; --help lists them all"),
        (&["--hold"], "--hold needs a value; see --help"),
        (&["--legacy-port=0"], "--legacy-port cannot be \"0\": it is a port, 1 to 65535"),
        (
            &["--listen=localhost:1"],
            "--listen cannot be \"localhost:1\": it is :PORT, ADDRESS:PORT or [ADDRESS]:PORT",
        ),
        (
            &["--log-level=LOUD\n"],
            "--log-level cannot be \"LOUD\\n\": it is error, warn, info or debug",
        ),
        (&["--log-format=xml"], "--log-format cannot be \"xml\": it is text or json"),
        (
            &["--request-timeout=0s"],
            "--request-timeout cannot be \"0s\": it is a time of more than 0, like 500ms, 4s or 1m",
        ),
        (
            &["--hold=5"],
            "--hold cannot be \"5\": it is a time like 500ms, at most 4s: the probe in the pod times out \
             after 5s",
        ),
        (
            &["--hold=4001ms"],
            "--hold cannot be \"4001ms\": it is a time like 500ms, at most 4s: the probe in the pod times \
             out after 5s",
        ),
        (&["--half-file="], "--half-file cannot be \"\": it is a path"),
        (
            &["--listen=:3000"],
            "--listen and --legacy-port have the same port, but Legacy needs its own for itself",
        ),
    ];
    for (arguments, expected) in table {
        assert_eq!(parse(arguments).unwrap_err().to_string(), expected, "{arguments:?}");
    }
}

#[test]
fn bytes_that_are_no_text_are_an_error_and_no_panic() {
    let bytes = OsStr::from_bytes(b"--secret=\xff");
    assert!(Args::parse([bytes]).is_err());
    assert!(Args::parse([OsStr::from_bytes(b"--\xff")]).is_err());
}

#[test]
fn what_is_no_flag_is_never_repeated() {
    for arguments in [&["hush"][..], &["-h=hush", "hush"], &["--nonsense=hush"], &["--half=hush"]] {
        let Err(error) = Args::parse(arguments) else { continue };
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
}

#[test]
fn times_have_a_unit() {
    assert_eq!(parse(&["--hold", "0s"]).unwrap().hold, Duration::ZERO);
    for (value, millis) in [("1ms", 1), ("500ms", 500), ("2s", 2000), ("1m", 60_000)] {
        let args = parse(&["--request-timeout", value]).unwrap();
        assert_eq!(args.request_timeout, Duration::from_millis(millis), "{value:?}");
    }
    for value in ["65536s", "5", "s", "4.5s", "-1s", "+1s", "1 s", "1S", "1d", "", "١s"] {
        assert!(parse(&["--request-timeout", value]).is_err(), "{value:?}");
    }
}

#[test]
fn names_mean_nothing_to_a_shell() {
    for flag in ["--secret", "--secret-key", "--namespace"] {
        assert!(parse(&[flag, "secret-handshake.v1_A"]).is_ok());
        for value in ["", "-n", "a b", "a;b", "$(a)", "a/b", "ä", &"a".repeat(254)] {
            assert!(parse(&[&format!("{flag}={value}")]).is_err(), "{value:?}");
        }
    }
}

#[test]
fn ports_are_digits_alone() {
    assert_eq!(parse(&["--legacy-port=65535"]).unwrap().legacy_port, 65535);
    for value in ["", "+1", "-1", "1.0", "65536", "0x10", " 1"] {
        assert!(parse(&[&format!("--legacy-port={value}")]).is_err(), "{value:?}");
    }
}
