use super::*;

fn read(args: &[&str]) -> Result<Options, ArgsError> {
    match parse(args.iter().map(OsString::from))? {
        Command::Serve(options) => Ok(*options),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_arguments_it_is_the_demos_legacy() {
    let options = read(&[]).unwrap();
    assert_eq!(options.config.listen.to_string(), "[::]:3000");
    assert_eq!(options.config.families, Families::Both);
    assert_eq!(options.config.text, "It works!");
    assert_eq!(options.config.key, b"This is @ $3cr3t key");
    assert_eq!(options.config.half, None);
    assert!(!options.config.initialized);
    assert_eq!(options.config.faults, Faults::default());
}

#[test]
fn flags_are_spelt_as_in_go() {
    for args in [
        &["-listen", ":4000"][..],
        &["-listen=:4000"],
        &["--listen", ":4000"],
        &["--listen=:4000"],
        &["--listen=:4000", "--"],
    ] {
        assert_eq!(read(args).unwrap().config.listen.to_string(), "[::]:4000", "{args:?}");
    }
    for (args, initialized) in [
        (&["-initialized"][..], true),
        (&["--initialized=true"], true),
        (&["-initialized=0"], false),
    ] {
        assert_eq!(read(args).unwrap().config.initialized, initialized, "{args:?}");
    }
    // A value may look like a flag.
    assert_eq!(read(&["-key", "-key"]).unwrap().config.key, b"-key");
    assert_eq!(read(&["-text", "a=b"]).unwrap().config.text, "a=b");
}

#[test]
fn stray_arguments_are_too_many() {
    for args in [
        &["x"][..],
        &["-initialized", "true"],
        &["-text", "a", "b"],
        &["--", "x"],
        &["-"],
        &["x", "--no-such-flag"],
    ] {
        let error = read(args).unwrap_err();
        assert_eq!(error.to_string(), "Too many arguments!", "{args:?}");
        assert_eq!(error.exit_code(), 127, "{args:?}");
    }
}

#[test]
fn what_cannot_be_followed_is_named() {
    for (args, message) in [
        (&["-nope"][..], "flag provided but not defined: -nope"),
        (&["-listen"], "flag needs an argument: -listen"),
        (&["-listen", "x"], r#"invalid value "x" for flag -listen: ADDRESS:PORT or :PORT"#),
        (&["-initialized=maybe"], r#"invalid value "maybe" for flag -initialized: true or false"#),
        (&["-late", "5"], r#"invalid value "5" for flag -late: a time such as 500ms, 2s or 1m"#),
    ] {
        let error = read(args).unwrap_err();
        assert_eq!(error.to_string(), message, "{args:?}");
        assert_eq!(error.exit_code(), 2, "{args:?}");
    }
}

#[test]
fn every_fault_of_a_connection_has_its_knob() {
    let door = |door| Faults { door, ..Faults::default() };
    let key = |key| Faults { key, ..Faults::default() };
    for (arg, wanted) in [
        ("-door=refuse", door(Door::Refuse)),
        ("-door=silent", door(Door::Silent)),
        ("-door=reset", door(Door::Reset)),
        ("-door=queue", door(Door::Queue)),
        ("-key-fault=garbage", key(KeyFault::Garbage)),
        ("-key-fault=oversized", key(KeyFault::Oversized)),
        ("-key-fault=empty", key(KeyFault::Empty)),
    ] {
        assert_eq!(read(&[arg]).unwrap().config.faults, wanted, "{arg}");
    }
    let args = [
        "-one-at-a-time",
        "-reject-secret",
        "-old-build",
        "-close-idle-after=1.5s",
        "-uninitialized-for=2s",
    ];
    let wanted = Faults {
        one_at_a_time: true,
        reject_secret: true,
        old_build: true,
        close_idle_after: Some(Duration::from_millis(1500)),
        uninitialized_for: Duration::from_secs(2),
        ..Faults::default()
    };
    assert_eq!(read(&args).unwrap().config.faults, wanted);
}

#[test]
fn every_fault_of_an_answer_has_its_knob() {
    let always = AnswerFault::always;
    for (args, wanted) in [
        (&["-answer=slow:5ms"][..], always(What::SlowBody(Duration::from_millis(5)))),
        (&["-answer=endless"], always(What::EndlessBody)),
        (&["-answer=cut"], always(What::CutBody)),
        (&["-answer=silent"], always(What::Silent)),
        (&["-answer=reset"], always(What::Reset)),
        (&["-answer=redirect:http://x/"], always(What::Redirect("http://x/".to_owned()))),
        (
            &["-answer-times=3", "-answer-path=/internal/key", "-answer=503"],
            always(What::Status(503)).on("/internal/key").times(3),
        ),
    ] {
        assert_eq!(read(args).unwrap().config.faults.answer, Some(wanted), "{args:?}");
    }
}

#[test]
fn times_and_families_have_their_knobs() {
    let args = ["-late=20s", "-faults-for=1m", "-forget-after=1h", "-families=ipv6"];
    let options = read(&args).unwrap();
    assert_eq!(options.late, Duration::from_secs(20));
    assert_eq!(options.faults_for, Some(Duration::from_secs(60)));
    assert_eq!(options.forget_after, Some(Duration::from_secs(3600)));
    assert_eq!(options.config.families, Families::Ipv6);
}
