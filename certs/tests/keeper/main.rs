//! The keeper with real keys and the real client, against an API server in memory. Time is virtual:
//! years pass in moments, and the fake server's `Date` tells them to the keepers.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod fake;

use std::collections::BTreeSet;
use std::time::Duration;

use certs::api_server::{ApiServer, ObjectNames};
use certs::certificate::{certificates, facts};
use certs::keeper::{Status, keep};
use certs::rotate::Settings;
use certs::serving::ServingCertificate;
use fake::{CONFIGURATION, Fake, NAMESPACE, SECRET};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const DAY: Duration = Duration::from_secs(86_400);
const NAME: &str = "secret-handshake-webhook.secret-handshake.svc";

/// A keeper at work.
struct Running {
    serving: watch::Receiver<Option<ServingCertificate>>,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(fake: &Fake, settings: &Settings) -> Self {
        let objects = ObjectNames {
            namespace: NAMESPACE.to_owned(),
            secret: SECRET.to_owned(),
            configuration: CONFIGURATION.to_owned(),
        };
        let mut api_server = ApiServer::new(fake.client(), objects, vec![NAME.to_owned()]);
        let (serving, status) = (api_server.serving(), api_server.status());
        let settings = settings.clone();
        let task = tokio::spawn(async move { keep(&mut api_server, &settings).await });
        Self { serving, status, task }
    }

    /// Waits until the status is as wanted, no longer than so much virtual time.
    async fn until(&mut self, limit: Duration, wanted: impl Fn(&Status) -> bool) -> Status {
        let reached = tokio::time::timeout(limit, self.status.wait_for(wanted)).await;
        let reached = reached.ok().map(|status| status.unwrap().clone());
        reached.unwrap_or_else(|| panic!("not in {limit:?}: {:?}", self.status.borrow()))
    }

    async fn ready(&mut self) -> Status {
        self.until(Duration::from_secs(30), is_ready).await
    }

    fn not_ready(&self) -> String {
        self.status.borrow().not_ready.clone().unwrap_or_default()
    }

    /// Whether every entry's caBundle verifies what is served, asked of a real verifier.
    fn verify(&self, fake: &Fake) -> Result<(), String> {
        let serving = self.serving.borrow();
        let serving = serving.as_ref().ok_or("nothing is served")?;
        for bundle in fake.bundles() {
            let roots = certificates(&bundle).map_err(|error| error.to_string())?;
            serving.verify(&roots, NAME, fake.now()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn leaf(&self) -> Vec<u8> {
        self.serving.borrow().as_ref().unwrap().chain()[0].to_vec()
    }

    fn issuer(&self) -> String {
        facts(&self.serving.borrow().as_ref().unwrap().chain()[0]).unwrap().issuer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_ready(status: &Status) -> bool {
    status.not_ready.is_none() && status.bundles_match
}

/// Lives in which much happens in an hour.
fn quick() -> Settings {
    Settings {
        leaf_life: Duration::from_secs(600),
        ca_life: Duration::from_secs(3 * 3_600),
        settle: Duration::from_secs(60),
    }
}

fn fake() -> Fake {
    Fake::new("2026-03-01T12:00:00Z")
}

#[tokio::test(start_paused = true)]
async fn three_replicas_that_start_together_agree_on_one_ca() {
    let fake = fake();
    let mut replicas: Vec<_> =
        (0..3).map(|_| Running::start(&fake, &Settings::default())).collect();
    for replica in &mut replicas {
        replica.ready().await;
        replica.verify(&fake).unwrap();
    }
    let issuers: BTreeSet<_> = replicas.iter().map(Running::issuer).collect();
    assert_eq!(issuers.len(), 1, "{issuers:?}");
    let leaves: BTreeSet<_> = replicas.iter().map(Running::leaf).collect();
    assert_eq!(leaves.len(), 3, "each has a leaf of its own");
    assert_eq!(fake.cas().len(), 1);
    assert!(fake.state().writes.len() <= 3, "{:?}", fake.state().writes);
}

#[tokio::test(start_paused = true)]
async fn a_wiped_or_foreign_bundle_is_put_right_at_once() {
    let fake = fake();
    let mut replica = Running::start(&fake, &Settings::default());
    replica.ready().await;
    let leaf = replica.leaf();
    for (entry, foreign) in [(0, ""), (2, "rubbish"), (1, "-----BEGIN CERTIFICATE-----\n!")] {
        // Soon after a look, and long before the next: seen by the watch.
        tokio::time::sleep(Duration::from_secs(61)).await;
        let repairs = replica.status.borrow().repairs;
        fake.overwrite(entry, foreign, "somebody");
        let limit = Duration::from_secs(1);
        replica.until(limit, |status| status.repairs > repairs && is_ready(status)).await;
        replica.verify(&fake).unwrap();
    }
    assert_eq!(replica.leaf(), leaf, "nothing was wrong with it");
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_means_the_same_is_left_alone() {
    let fake = fake();
    let mut replica = Running::start(&fake, &Settings::default());
    replica.ready().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let bundle = String::from_utf8(fake.bundles()[0].clone()).unwrap();
    let writes = fake.state().writes.len();
    fake.overwrite(0, &format!("# Our CA\n{}\n\n", bundle.trim().replace('\n', "\r\n")), "editor");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(fake.state().writes.len(), writes);
    replica.ready().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_fights_over_the_bundle_is_answered_less_and_less_often() {
    let fake = fake();
    let mut replica = Running::start(&fake, &Settings::default());
    replica.ready().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = fake.state().writes.len();
    // Somebody puts their own back whenever it is changed.
    let rival = {
        let fake = fake.clone();
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if fake.bundles()[1] != b"theirs" {
                    fake.overwrite(1, "theirs", "cert-manager-cainjector");
                }
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(20 * 60), rival).await;
    let writes = fake.state().writes.len() - before;
    assert!((100..=130).contains(&writes), "{writes} patches in 20 minutes");
    assert!(replica.not_ready().contains(fake::ENTRIES[1]), "{}", replica.not_ready());
    // The other gives up: ready again at the next look.
    replica.until(Duration::from_secs(11), is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_keep_what_is_written_is_not_written_without_end() {
    let fake = fake();
    let mut replica = Running::start(&fake, &Settings::default());
    replica.ready().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = fake.state().writes.len();
    fake.state().forgets = true;
    fake.set_data(json!({}));
    tokio::time::sleep(Duration::from_secs(20 * 60)).await;
    let writes = fake.state().writes.len() - before;
    assert!((100..=130).contains(&writes), "{writes} writes in 20 minutes");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_emptied_or_garbled_gets_a_new_ca_within_a_look() {
    let whole = json!({ "cas.json": "W10=" });
    let garbled = json!({ "cas.json": "Z2FyYmxl", "note": "eA==" });
    for data in [json!({}), json!(null), whole, garbled.clone()] {
        let fake = fake();
        let mut replica = Running::start(&fake, &Settings::default());
        replica.ready().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = replica.issuer();
        fake.set_data(data.clone());
        tokio::time::sleep(Duration::from_secs(11)).await;
        replica.ready().await;
        replica.verify(&fake).unwrap();
        assert_ne!(replica.issuer(), before, "{data}");
        assert_eq!(fake.cas().len(), 1);
        // What others have put beside it stays.
        let secret = fake.state().secret.clone().unwrap();
        assert_eq!(secret["metadata"]["labels"]["team"], "ours");
        assert_eq!(secret["data"].get("note"), data.get("note"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_missing_is_named_and_serving_goes_on() {
    let fake = fake();
    let mut replica = Running::start(&fake, &Settings::default());
    replica.ready().await;
    let secret = fake.state().secret.take();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    replica.ready().await;
    replica.verify(&fake).unwrap();
    // Who starts now has no CA, and says what to do.
    let mut fresh = Running::start(&fake, &Settings::default());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(fresh.not_ready().contains("apply that again"), "{}", fresh.not_ready());
    fake.state().secret = secret;
    fresh.ready().await;
    assert_eq!(fresh.issuer(), replica.issuer());
}

#[tokio::test(start_paused = true)]
async fn an_expired_ca_is_replaced() {
    let fake = fake();
    let mut replica = Running::start(&fake, &quick());
    replica.ready().await;
    drop(replica);
    let before = fake.bundles();
    tokio::time::sleep(DAY).await;
    let mut replica = Running::start(&fake, &Settings::default());
    replica.ready().await;
    replica.verify(&fake).unwrap();
    assert_ne!(fake.bundles(), before);
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_named() {
    for forbidden in [
        "get secrets",
        "patch secrets",
        "get mutatingwebhookconfigurations",
        "patch mutatingwebhookconfigurations",
    ] {
        let fake = fake();
        fake.state().forbidden.insert(forbidden.to_owned());
        let mut replica = Running::start(&fake, &Settings::default());
        tokio::time::sleep(Duration::from_secs(90)).await;
        let expected = format!("User \"sa\" cannot {forbidden}: apply the webhook's roles again");
        assert!(replica.not_ready().contains(&expected), "{}", replica.not_ready());
        // As soon as it is allowed, all is well.
        fake.state().forbidden.clear();
        replica.until(Duration::from_secs(11), is_ready).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_becomes_forbidden_is_not_replaced_and_serving_goes_on() {
    let fake = fake();
    let mut replica = Running::start(&fake, &Settings::default());
    replica.ready().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = fake.state().secret.clone();
    fake.state().forbidden.insert("get secrets".to_owned());
    tokio::time::sleep(Duration::from_secs(86_100)).await;
    assert_eq!(fake.state().secret, before);
    assert_eq!(replica.not_ready(), "");
    replica.verify(&fake).unwrap();
    // Nothing can be signed, so the certificate ends: it says so before any API server refuses it.
    replica.until(Duration::from_secs(400), |status| status.not_ready.is_some()).await;
    replica.verify(&fake).unwrap();
    assert!(replica.not_ready().contains("certificate is for"), "{}", replica.not_ready());
    assert!(replica.not_ready().contains("cannot get secrets"), "{}", replica.not_ready());
}

#[tokio::test(start_paused = true)]
async fn leaves_go_on_while_publication_is_forbidden_and_the_next_ca_waits() {
    let fake = fake();
    let mut replica = Running::start(&fake, &quick());
    replica.ready().await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let before = replica.issuer();
    fake.state().forbidden.insert("patch mutatingwebhookconfigurations".to_owned());
    fake.ask_for_a_new_ca();
    // Longer than a leaf lives.
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        replica.verify(&fake).unwrap();
        assert_eq!((replica.not_ready().as_str(), replica.issuer()), ("", before.clone()));
    }
    assert_eq!(fake.cas().len(), 2);
    assert!(!replica.status.borrow().bundles_match);
    assert!(replica.status.borrow().renewals >= 2);
    fake.state().forbidden.clear();
    replica.until(Duration::from_secs(11), is_ready).await;
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_ne!(replica.issuer(), before);
    replica.verify(&fake).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_api_away_at_the_start_is_waited_for_and_later_is_lived_without() {
    let fake = fake();
    fake.state().is_away = true;
    let mut replica = Running::start(&fake, &Settings::default());
    assert!(replica.not_ready().contains("no serving certificate"), "{}", replica.not_ready());
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(replica.not_ready().contains("no answer in 10s"), "{}", replica.not_ready());
    fake.state().is_away = false;
    replica.until(Duration::from_secs(60), is_ready).await;
    fake.state().is_away = true;
    tokio::time::sleep(DAY / 2).await;
    replica.verify(&fake).unwrap();
    assert_eq!(replica.not_ready(), "");
}

#[tokio::test(start_paused = true)]
async fn conflicts_and_lost_answers_do_no_harm() {
    for (interlopers, lose) in [(3, 0), (0, 3), (2, 2)] {
        let fake = fake();
        fake.state().interlopers = interlopers;
        fake.state().lose = lose;
        let mut replicas: Vec<_> =
            (0..2).map(|_| Running::start(&fake, &Settings::default())).collect();
        for replica in &mut replicas {
            replica.until(Duration::from_secs(120), is_ready).await;
            replica.verify(&fake).unwrap();
        }
        assert_eq!(replicas[0].issuer(), replicas[1].issuer());
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_asks_for_a_new_ca_and_nobody_is_cut_off() {
    let fake = fake();
    let mut replicas: Vec<_> = (0..2).map(|_| Running::start(&fake, &quick())).collect();
    for replica in &mut replicas {
        replica.ready().await;
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    let old = replicas[0].issuer();
    fake.ask_for_a_new_ca();
    // At every moment what is served is accepted.
    let mut counts = vec![1];
    for step in 0..700 {
        // Closely while it changes over, and then until the old CA is dropped.
        let pause = if step < 600 { 100 } else { 10_000 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        for replica in &replicas {
            replica.verify(&fake).unwrap();
            assert_eq!(replica.not_ready(), "");
        }
        let count = fake.cas().len();
        if counts.last() != Some(&count) {
            counts.push(count);
        }
    }
    assert_eq!(counts, [1, 2, 1]);
    assert_ne!(replicas[0].issuer(), old);
    assert_eq!(replicas[0].issuer(), replicas[1].issuer());
    let secret = fake.state().secret.clone().unwrap();
    assert_eq!(secret["metadata"]["annotations"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn four_cas_live_and_end_with_real_keys() {
    let fake = fake();
    let mut replicas: Vec<_> = (0..2).map(|_| Running::start(&fake, &quick())).collect();
    for replica in &mut replicas {
        replica.ready().await;
    }
    let mut authorities = BTreeSet::from([replicas[0].issuer()]);
    for minute in (0..7 * 60).step_by(4) {
        tokio::time::sleep(Duration::from_secs(240)).await;
        for replica in &replicas {
            replica.verify(&fake).unwrap_or_else(|why| panic!("minute {minute}: {why}"));
            assert_eq!(replica.not_ready(), "", "minute {minute}");
        }
        authorities.insert(replicas[0].issuer());
    }
    assert_eq!(authorities.len(), 4, "one for every two hours");
    for replica in &replicas {
        assert!(replica.status.borrow().renewals > 50);
    }
}

#[tokio::test(start_paused = true)]
async fn the_api_servers_clock_counts_and_not_the_nodes() {
    // This machine's clock is years behind the fake server's.
    let fake = Fake::new("2091-06-01T00:00:00Z");
    let mut replica = Running::start(&fake, &Settings::default());
    replica.ready().await;
    replica.verify(&fake).unwrap();
    let validity = facts(&replica.serving.borrow().as_ref().unwrap().chain()[0]).unwrap().validity;
    assert!(validity.contains(fake.now()) && validity.not_after < fake.now() + 2 * DAY);
}

#[tokio::test(start_paused = true)]
async fn without_a_configuration_it_is_not_ready_until_there_is_one() {
    let fake = fake();
    let configuration = fake.state().configuration.take();
    let mut replica = Running::start(&fake, &Settings::default());
    tokio::time::sleep(Duration::from_secs(62)).await;
    assert!(replica.not_ready().contains("does not exist"), "{}", replica.not_ready());
    fake.state().configuration = configuration;
    fake.touch();
    replica.until(Duration::from_secs(1), is_ready).await;
    replica.verify(&fake).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_added_later_is_filled_too() {
    let fake = fake();
    let mut replica = Running::start(&fake, &Settings::default());
    replica.ready().await;
    tokio::time::sleep(Duration::from_secs(62)).await;
    {
        let mut state = fake.state();
        let configuration = state.configuration.as_mut().unwrap();
        configuration["webhooks"].as_array_mut().unwrap().push(json!({
            "name": "more.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": { "url": "https://127.0.0.1:8443/mutate/pods" },
        }));
    }
    fake.touch();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fake.bundles().len(), 4);
    replica.verify(&fake).unwrap();
    replica.ready().await;
}

/// The verbs, groups, resources and names that the manifests allow.
fn allowed() -> BTreeSet<fake::Asked> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/webhook/rbac.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut allowed = BTreeSet::new();
    let list = |rule: &serde_json::Value, key: &str| -> Vec<String> {
        serde_json::from_value(rule[key].clone()).unwrap_or_default()
    };
    for rule in documents.iter().filter_map(|document| document["rules"].as_array()).flatten() {
        let names = list(rule, "resourceNames");
        let names: Vec<_> =
            if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
        for verb in list(rule, "verbs") {
            for group in list(rule, "apiGroups") {
                for resource in list(rule, "resources") {
                    for name in &names {
                        let rule = (verb.clone(), group.clone(), resource.clone(), name.clone());
                        allowed.insert(rule);
                    }
                }
            }
        }
    }
    allowed
}

#[tokio::test(start_paused = true)]
async fn the_manifests_allow_what_is_asked_for_and_nothing_else() {
    let fake = fake();
    let mut replica = Running::start(&fake, &quick());
    replica.ready().await;
    // All there is to ask for: a rotation, a repair, a Secret that is emptied.
    fake.overwrite(0, "", "somebody");
    tokio::time::sleep(Duration::from_secs(60)).await;
    fake.set_data(json!({}));
    tokio::time::sleep(Duration::from_secs(3 * 3_600)).await;
    replica.ready().await;
    let mut allowed = allowed();
    // The namespaces' annotations, which are not about certificates.
    allowed.retain(|(_, _, resource, _)| resource != "namespaces");
    assert_eq!(fake.state().asked, allowed);
}

#[tokio::test(start_paused = true)]
async fn no_key_is_logged_or_shown() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let fake = fake();
    let mut replica = Running::start(&fake, &Settings::default());
    let status = replica.ready().await;
    let first = fake.cas()[0]["key"].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_secs(60)).await;
    fake.overwrite(0, "", "somebody");
    tokio::time::sleep(Duration::from_secs(60)).await;
    fake.set_data(json!({ "cas.json": "Z2FyYmxl" }));
    tokio::time::sleep(Duration::from_secs(60)).await;
    fake.state().forbidden.insert("get secrets".to_owned());
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(guard);
    let shown = format!(
        "{}\n{status:?}\n{:?}",
        String::from_utf8_lossy(&log.0.lock().unwrap()),
        replica.serving.borrow()
    );
    assert!(shown.contains("was changed by somebody and put right"), "{shown}");
    assert!(shown.contains("cas.json is not a list of CAs"), "{shown}");
    let second = fake.cas()[0]["key"].as_str().unwrap().to_owned();
    let served = replica.serving.borrow().as_ref().unwrap().key_pem().to_string();
    for key in [first, second, served] {
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            assert!(!shown.contains(line), "{line} is shown:\n{shown}");
        }
    }
    let secret = fake.state().secret.clone().unwrap();
    let encoded = secret["data"]["cas.json"].as_str().unwrap();
    assert!(!shown.contains(&encoded[..60]) && !shown.contains("PRIVATE KEY"), "{shown}");
}

/// Collects a log.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
