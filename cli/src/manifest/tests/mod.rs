//! The reader and the writer beside kubectl's.

mod corpus;
mod generate;
mod kubectl;

use fastrand::Rng;

use self::kubectl::{Answer, Kubectl, sorted};
use super::{Parts, Problem, ReadError, Value, decode};

/// What our reader makes of a stream, nulls left out as kubectl leaves them out.
fn read(stream: &[u8]) -> Result<Vec<Value>, ReadError> {
    let text = decode(stream.to_vec());
    let documents = Parts::of(&text).map(|part| Ok(part?.read()?.value));
    documents
        .filter(|document| !matches!(document, Ok(Value::Null)))
        .map(|document| document.map(|value| sorted(&value)))
        .collect()
}

fn seed() -> u64 {
    std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap())
}

/// How many texts of each kind are compared.
fn count() -> usize {
    std::env::var("TEXTS").map_or(10_000, |count| count.parse().unwrap())
}

#[derive(Debug, Default, PartialEq)]
struct Differences {
    values: Vec<String>,
    /// Read by us and refused by kubectl.
    accepted: Vec<String>,
    /// Refused by us and read by kubectl.
    refused: Vec<String>,
}

fn compare<T: AsRef<str>>(streams: &[T], answers: &[String]) -> Differences {
    let mut differences = Differences::default();
    for (stream, answer) in streams.iter().map(AsRef::as_ref).zip(answers) {
        let theirs = Answer::parse(answer);
        let difference = match (read(stream.as_bytes()), theirs.refused) {
            (Ok(ours), None) if ours == theirs.documents => continue,
            (Err(_), Some(_)) => continue,
            (Ok(_), None) => &mut differences.values,
            (Ok(_), Some(_)) => &mut differences.accepted,
            (Err(_), None) => &mut differences.refused,
        };
        difference.push(stream.to_owned());
    }
    differences
}

/// What the parser, a port of libyaml 0.2.5, reads otherwise than kubectl's, a fork of an older libyaml:
/// `\/` in double quotes, a plain scalar that ends in a colon or begins with a question mark inside
/// brackets, a tag that a bracket or a comma ends, and a byte order mark that begins a line.
fn is_known(stream: &str) -> bool {
    let in_brackets = stream.contains(['[', '{']);
    let after = |start: char, ends: &[char]| {
        stream.split(start).skip(1).any(|rest| {
            rest.trim_start_matches(|c: char| !c.is_whitespace() && !ends.contains(&c))
                .starts_with(ends)
        })
    };
    ["\\/", "\u{feff}"].iter().any(|known| stream.contains(known))
        || in_brackets && (stream.contains('?') || after(':', &[',', '[', ']', '{', '}', ':']))
        || after('!', &[',', '[', ']', '{', '}'])
}

#[test]
fn what_kubectl_once_answered_is_what_is_read() {
    let (streams, answers): (Vec<_>, Vec<_>) = kubectl::recorded().into_iter().unzip();
    assert!(streams.len() > 500, "{}", streams.len());
    assert_eq!(compare(&streams, &answers), Differences::default());
}

/// Run with `RECORD=1`, it writes down what kubectl answers to the corpus.
#[test]
fn the_recorded_answers_are_those_of_kubectl() {
    let Some(kubectl) = Kubectl::build() else { return };
    if std::env::var_os("RECORD").is_some() {
        let streams = corpus::streams();
        let answers = kubectl.read(&streams);
        let lines = streams.iter().zip(answers).map(|(stream, answer)| {
            format!("[{},{answer}]\n", serde_json::to_string(stream).unwrap())
        });
        std::fs::write(kubectl::RECORDED, lines.collect::<String>()).unwrap();
    }
    let (streams, answers): (Vec<_>, Vec<_>) = kubectl::recorded().into_iter().unzip();
    assert_eq!(kubectl.read(&streams), answers);
}

#[test]
fn generated_streams_are_read_as_kubectl_reads_them() {
    let Some(kubectl) = Kubectl::build() else { return };
    let mut rng = Rng::with_seed(seed());
    let streams: Vec<_> = (0..count()).map(|_| generate::stream(&mut rng)).collect();
    assert_eq!(compare(&streams, &kubectl.read(&streams)), Differences::default());
}

#[test]
fn edited_streams_are_read_as_kubectl_reads_them() {
    let Some(kubectl) = Kubectl::build() else { return };
    let mut rng = Rng::with_seed(seed());
    let streams: Vec<_> = (0..count()).map(|_| generate::edited_stream(&mut rng)).collect();
    let mut found = compare(&streams, &kubectl.read(&streams));
    for differences in [&mut found.values, &mut found.accepted, &mut found.refused] {
        differences.retain(|stream| !is_known(stream));
    }
    assert_eq!(found, Differences::default());
}

#[test]
fn streams_in_other_encodings_are_read_as_kubectl_reads_them() {
    let Some(kubectl) = Kubectl::build() else { return };
    let text = "a: é😀\n---\nb: 1\n";
    let utf16 = |unit: fn(u16) -> [u8; 2]| {
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(unit).collect::<Vec<u8>>()
    };
    let streams = [
        utf16(u16::to_le_bytes),
        utf16(u16::to_be_bytes),
        [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        b"a: caf\xe9 # \xff\n".to_vec(),
        b"{\"a\": \"caf\xe9\"}".to_vec(),
    ];
    for (stream, answer) in streams.iter().zip(kubectl.read(&streams)) {
        assert_eq!(read(stream).unwrap(), Answer::parse(&answer).documents, "{stream:?}");
    }
}

#[test]
fn what_is_written_is_read_back_as_the_same() {
    let mut rng = Rng::with_seed(seed());
    let values: Vec<_> = (0..count()).map(|_| generate::value(&mut rng, 3)).collect();
    let kubectl = Kubectl::build();
    for write in [
        super::write::write as fn(&Value) -> String,
        |value| super::json::write(value, false),
        |value| super::json::write(value, true),
    ] {
        // Below a key, because a null or a scalar alone is no document for kubectl.
        let texts: Vec<_> = values
            .iter()
            .map(|value| write(&Value::Map([("v".to_owned(), value.clone())].into())))
            .collect();
        let answers = kubectl.as_ref().map(|kubectl| kubectl.read(&texts));
        for (index, (text, value)) in texts.iter().zip(&values).enumerate() {
            let expected = vec![sorted(&Value::Map([("v".to_owned(), value.clone())].into()))];
            assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text}");
            // After a separator JSON is YAML, which has no long keys in braces and another -0.
            if !text.starts_with('{') || !text.contains(&"k".repeat(1000)) && !text.contains("-0") {
                let as_yaml = format!("---\n{text}");
                assert_eq!(read(as_yaml.as_bytes()).unwrap(), expected, "{text}");
            }
            if let Some(answers) = &answers {
                assert_eq!(Answer::parse(&answers[index]).documents, expected, "{text}");
            }
        }
    }
}

#[test]
fn errors_name_the_line() {
    for (stream, line, problem) in [
        ("a: 1\n---\nb: [\n", 4, "did not find expected"),
        ("a: 1\n--- b: 2\n", 2, "only a comment may follow ---"),
        ("a: 1\n---\n\nb: *x\n", 4, "an alias of no anchor"),
        ("a: 1\nb: &x [*x]\n", 2, "contains an alias of it"),
        ("a: 1\nb: .nan\n", 2, "not a number that JSON knows"),
        ("a: 1\n~: 1\n", 2, "can't be a key"),
        ("a: 1\n[b]: 1\n", 2, "can't be a key"),
        ("a: 1\n<<: 1\n", 2, "<< takes a map"),
        ("a: 1\nb: !!int x\n", 2, "not of the type !!int"),
        ("a: 1\nb: \u{1}\n", 2, "control characters"),
        ("a: 1\n\tb: 1\n", 2, ""),
        ("a: 1\n---\n%YAML 1.1\n---\nb: 1\n", 4, "<document start>"),
        ("{}\n{}\n{\"a\":\n tru}", 4, "not valid JSON"),
        ("a: 1\nb: [!x, y]\n", 2, "a tag ends in a comma"),
    ] {
        let error = read(stream.as_bytes()).unwrap_err();
        assert_eq!(error.line, line, "{stream:?}: {error}");
        assert!(error.to_string().contains(problem), "{stream:?}: {error}");
    }
}

#[test]
fn the_last_of_the_same_keys_counts_and_is_named() {
    let stream = "a: 1\nb:\n  - c: 1\n    d: {e: 1, e: 2}\n    c: 3\na: 2\n<<: {z: 1}\nz: 2\n";
    let document = Parts::of(stream).next().unwrap().unwrap().read().unwrap();
    let found: Vec<_> = document
        .duplicates
        .iter()
        .map(|duplicate| (duplicate.line, duplicate.path.as_str()))
        .collect();
    assert_eq!(found, [(4, "b[0].d.e"), (5, "b[0].c"), (6, "a")]);
    assert_eq!(document.value.get("a"), Some(&Value::Number("2".to_owned())));
}

#[test]
fn depth_and_aliases_have_limits() {
    for (text, is_read) in [
        (format!("{}{}", "[".repeat(256), "]".repeat(256)), true),
        (format!("{}{}", "[".repeat(258), "]".repeat(258)), false),
        (format!("{{\"a\":{}{}}}", "[".repeat(255), "]".repeat(255)), true),
        (format!("{{\"a\":{}{}}}", "[".repeat(257), "]".repeat(257)), false),
    ] {
        assert_eq!(read(text.as_bytes()).is_ok(), is_read, "{}", text.len());
    }

    let level = |level: usize| {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("a{level}: &a{level} [{aliases}]\n")
    };
    let levels: Vec<_> = (1..10).map(level).collect();
    let laughs = format!("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{}", levels.concat());
    let error = read(laughs.as_bytes()).unwrap_err();
    assert!(matches!(error.problem, Problem::Aliases), "{error}");

    let nested: Vec<_> =
        (0..200).map(|level| format!("{}- &x{level}\n", " ".repeat(level))).collect();
    let nested = nested.concat();
    let wide = format!("{nested}{}- [{}]\n", " ".repeat(200), "x, ".repeat(100_000));
    let error = read(wide.as_bytes()).unwrap_err();
    assert!(matches!(error.problem, Problem::Aliases), "{error}");

    let many: Vec<_> = (0..3000).map(|n| format!("- {{v: &v{n} x, w: *v{n}}} # {n}\n")).collect();
    assert!(read(many.concat().as_bytes()).is_ok());
}

#[test]
fn halves_of_surrogate_pairs_are_replaced_as_in_go() {
    let json = r#"{"\udc00": "a\ud800b\ud83d\ude00\ufffd\ufffd\ufffd"}"#;
    let documents = read(json.as_bytes()).unwrap();
    let expected = Value::String("a\u{fffd}b😀\u{fffd}\u{fffd}\u{fffd}".to_owned());
    assert_eq!(documents[0].get("\u{fffd}"), Some(&expected));
}
