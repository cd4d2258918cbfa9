//! The keeper with real keys and the real client, against an API server in memory. Time is virtual:
//! years pass in moments, and the fake server's `Date` tells them to the keepers.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod fake;

use std::collections::BTreeSet;
use std::time::Duration;

use certs::cluster::{Cluster, ObjectNames};
use certs::inspect;
use certs::issue::Names;
use certs::keeper::Keeper;
use certs::rotate::Phase;
use certs::serving::ServingCertificate;
use certs::settings::Settings;
use certs::status::Status;
use fake::{CONFIGURATION, Fake, NAMESPACE, SECRET};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{oneshot, watch};

const DAY: Duration = Duration::from_secs(86_400);

/// A keeper at work.
struct Running {
    serving: watch::Receiver<Option<ServingCertificate>>,
    status: watch::Receiver<Status>,
    stop: Option<oneshot::Sender<()>>,
}

impl Running {
    fn start(fake: &Fake, settings: &Settings, seed: u64) -> Self {
        let names = ObjectNames {
            namespace: NAMESPACE.to_owned(),
            secret: SECRET.to_owned(),
            configuration: CONFIGURATION.to_owned(),
        };
        let cluster = Cluster::over(fake.client(), names);
        let keeper = Keeper::new(cluster, names_served(), settings.clone(), seed);
        let (serving, status) = (keeper.serving(), keeper.status());
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(keeper.run(async { drop(stopped.await) }));
        Self { serving, status, stop: Some(stop) }
    }

    /// Waits until the status is as wanted, no longer than so much virtual time.
    async fn until(&mut self, limit: Duration, wanted: impl Fn(&Status) -> bool) -> Status {
        let reached = tokio::time::timeout(limit, self.status.wait_for(wanted)).await;
        let reached = reached.ok().map(|status| status.unwrap().clone());
        reached.unwrap_or_else(|| panic!("not in {limit:?}: {}", self.status.borrow().screen("it")))
    }

    async fn ready(&mut self) -> Status {
        self.until(Duration::from_secs(30), |status| status.not_ready.is_none()).await
    }

    /// Whether every entry's caBundle verifies what is served, asked of a real verifier.
    fn verify(&self, fake: &Fake) -> Result<(), String> {
        let serving = self.serving.borrow();
        let serving = serving.as_ref().ok_or("nothing is served")?;
        for bundle in fake.bundles() {
            let roots = inspect::certificates(&bundle).map_err(|error| error.to_string())?;
            serving.verify(&roots, &names_served(), fake.now()).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn issuer(&self) -> String {
        self.status.borrow().leaf.as_ref().unwrap().issuer.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.take();
    }
}

fn names_served() -> Names {
    Names::of_service("secret-handshake-webhook", NAMESPACE, "cluster.local")
}

fn slow() -> Settings {
    // Whatever happens within seconds was not found by looking now and then.
    Settings { resync: Duration::from_secs(3_600), ..Settings::default() }
}

/// Lives in which much happens in an hour.
fn quick() -> Settings {
    Settings {
        leaf_life: Duration::from_secs(600),
        ca_life: Duration::from_secs(3 * 3_600),
        skew: Duration::from_secs(10),
        resync: Duration::from_secs(300),
        ..Settings::default()
    }
}

fn fake() -> Fake {
    Fake::new("2026-03-01T12:00:00Z")
}

#[tokio::test(start_paused = true)]
async fn three_replicas_that_start_together_agree_on_one_ca() {
    let fake = fake();
    let mut replicas: Vec<_> =
        (0..3).map(|seed| Running::start(&fake, &Settings::default(), seed)).collect();
    for replica in &mut replicas {
        replica.ready().await;
        replica.verify(&fake).unwrap();
    }
    let issuers: BTreeSet<_> = replicas.iter().map(Running::issuer).collect();
    assert_eq!(issuers.len(), 1, "{issuers:?}");
    let chains: BTreeSet<_> = replicas
        .iter()
        .map(|replica| replica.serving.borrow().as_ref().unwrap().chain()[0].to_vec())
        .collect();
    assert_eq!(chains.len(), 3, "each has a leaf of its own");
    let writes = fake.state().writes.clone();
    let creates = writes.iter().filter(|(verb, _)| verb == "create").count();
    assert_eq!(creates, 1, "{writes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wiped_or_foreign_bundle_is_put_right_at_once() {
    let fake = fake();
    let mut replica = Running::start(&fake, &slow(), 1);
    replica.ready().await;
    let serial = replica.serving.borrow().as_ref().unwrap().chain()[0].clone();
    for (entry, foreign) in [(0, ""), (2, "rubbish")] {
        let repairs = replica.status.borrow().repairs_total;
        fake.overwrite(entry, foreign, "somebody");
        replica
            .until(Duration::from_secs(1), |status| {
                status.repairs_total > repairs && status.not_ready.is_none()
            })
            .await;
        replica.verify(&fake).unwrap();
    }
    // The certificate is still the same: nothing was wrong with it.
    assert_eq!(replica.serving.borrow().as_ref().unwrap().chain()[0], serial);
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_means_the_same_is_left_alone() {
    let fake = fake();
    let mut replica = Running::start(&fake, &slow(), 1);
    replica.ready().await;
    let bundle = String::from_utf8(fake.bundles()[0].clone()).unwrap();
    let writes = fake.state().writes.len();
    fake.overwrite(0, &format!("# Our CA\n{}\n\n", bundle.trim().replace('\n', "\r\n")), "editor");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(fake.state().writes.len(), writes);
    replica.ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_fight_is_noticed_named_and_not_fought_to_the_end() {
    let fake = fake();
    let mut replica = Running::start(&fake, &Settings::default(), 1);
    replica.ready().await;
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
    assert!((10..=40).contains(&writes), "{writes} patches in 20 minutes");
    let status = replica.status.borrow().clone();
    assert!(status.is_fighting);
    let screen = status.screen("webhook-1");
    assert!(screen.contains("somebody else writes the caBundles again and again"), "{screen}");
    // The other gives up: ready again within the longest pause, and at peace after a while.
    replica.until(Duration::from_secs(61), |status| status.not_ready.is_none()).await;
    replica.until(Duration::from_secs(900), |status| !status.is_fighting).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_secret_is_put_back_as_it_was() {
    let fake = fake();
    let mut replica = Running::start(&fake, &Settings::default(), 1);
    replica.ready().await;
    let before = fake.state().secret.take().unwrap();
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(fake.state().secret.as_ref().unwrap()["data"], before["data"]);
    replica.verify(&fake).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_garbled_secret_is_replaced_by_what_is_still_known() {
    let fake = fake();
    let mut replica = Running::start(&fake, &Settings::default(), 1);
    replica.ready().await;
    let before = fake.state().secret.clone().unwrap();
    fake.state().secret.as_mut().unwrap()["data"]["ca.key"] = json!("Z2FyYmxl");
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(fake.state().secret.as_ref().unwrap()["data"], before["data"]);
    replica.ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_nobody_can_use_is_replaced_by_a_new_ca() {
    let fake = fake();
    let garbled = json!({ "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": SECRET, "resourceVersion": "1", "labels": { "team": "ours" } },
        "data": { "ca.crt": "Z2FyYmxl" } });
    fake.state().secret = Some(garbled);
    let mut replica = Running::start(&fake, &Settings::default(), 1);
    replica.ready().await;
    replica.verify(&fake).unwrap();
    let secret = fake.state().secret.clone().unwrap();
    assert_eq!(secret["metadata"]["labels"]["team"], "ours");
}

#[tokio::test(start_paused = true)]
async fn an_expired_ca_is_replaced() {
    let fake = fake();
    drop({
        let mut replica = Running::start(&fake, &quick(), 1);
        replica.ready().await;
        replica
    });
    let before = fake.bundles();
    tokio::time::sleep(DAY).await;
    let mut replica = Running::start(&fake, &Settings::default(), 2);
    replica.ready().await;
    replica.verify(&fake).unwrap();
    assert_ne!(fake.bundles(), before);
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_named_with_the_rule_that_is_missing() {
    let cases = [
        (
            "get secrets",
            "Role lacks the rule {apiGroups: [\"\"], resources: [secrets], \
          resourceNames: [secret-handshake-ca], verbs: [get]}",
        ),
        (
            "create secrets",
            "Role lacks the rule {apiGroups: [\"\"], resources: [secrets], \
          verbs: [create]}",
        ),
        (
            "get mutatingwebhookconfigurations",
            "ClusterRole lacks the rule \
          {apiGroups: [\"admissionregistration.k8s.io\"], \
          resources: [mutatingwebhookconfigurations], resourceNames: [secret-handshake], \
          verbs: [get]}",
        ),
        ("patch mutatingwebhookconfigurations", "verbs: [patch]}"),
    ];
    for (forbidden, expected) in cases {
        let fake = fake();
        fake.state().forbidden.insert(forbidden.to_owned());
        let mut replica = Running::start(&fake, &Settings::default(), 1);
        tokio::time::sleep(Duration::from_secs(90)).await;
        let status = replica.status.borrow().clone();
        let not_ready = status.not_ready.unwrap_or_default();
        assert!(not_ready.contains(expected), "{forbidden}: {not_ready}");
        assert!(fake.state().writes.iter().all(|(verb, _)| verb != "update"), "{forbidden}");
        // As soon as it is allowed, all is well.
        fake.state().forbidden.clear();
        replica.until(Duration::from_secs(35), |status| status.not_ready.is_none()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_becomes_forbidden_is_not_replaced_and_serving_goes_on() {
    let fake = fake();
    let mut replica = Running::start(&fake, &quick(), 1);
    replica.ready().await;
    let before = fake.state().secret.clone();
    fake.state().forbidden.extend(["get secrets".to_owned(), "update secrets".to_owned()]);
    // As long as no rotation can have begun, certificates are renewed from the CA in memory.
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(fake.state().secret, before);
    let status = replica.ready().await;
    assert!(status.renewals_total >= 6, "{status:?}");
    assert!(status.problem.unwrap().contains("lacks the rule"));
    replica.verify(&fake).unwrap();
    // Later it could outlive the CA's place in the caBundle: it says so, and signs no more.
    tokio::time::sleep(Duration::from_secs(2 * 3_600)).await;
    let not_ready = replica.status.borrow().not_ready.clone().unwrap();
    assert!(not_ready.contains("is valid from"), "{not_ready}");
    assert!(not_ready.contains("lacks the rule"), "{not_ready}");
}

#[tokio::test(start_paused = true)]
async fn the_api_away_at_the_start_is_waited_for_and_later_is_lived_without() {
    let fake = fake();
    fake.state().is_away = true;
    let mut replica = Running::start(&fake, &Settings::default(), 1);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let not_ready = replica.status.borrow().not_ready.clone().unwrap();
    assert!(not_ready.contains("no answer in 10 s"), "{not_ready}");
    fake.state().is_away = false;
    replica.until(Duration::from_secs(60), |status| status.not_ready.is_none()).await;
    fake.state().is_away = true;
    for _ in 0..2 {
        tokio::time::sleep(DAY / 2).await;
        replica.verify(&fake).unwrap();
        assert_eq!(replica.status.borrow().not_ready, None);
    }
}

#[tokio::test(start_paused = true)]
async fn conflicts_and_lost_answers_do_no_harm() {
    for (interlopers, lose) in [(3, 0), (0, 3), (2, 2)] {
        let fake = fake();
        fake.state().interlopers = interlopers;
        fake.state().lose = lose;
        let mut replicas: Vec<_> =
            (0..2).map(|seed| Running::start(&fake, &Settings::default(), seed)).collect();
        for replica in &mut replicas {
            replica.until(Duration::from_secs(120), |status| status.not_ready.is_none()).await;
            replica.verify(&fake).unwrap();
        }
        assert_eq!(replicas[0].issuer(), replicas[1].issuer());
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_asks_for_a_new_ca_and_nobody_is_cut_off() {
    let fake = fake();
    let settings = Settings { resync: Duration::from_secs(10), ..quick() };
    let mut replicas: Vec<_> = (0..2).map(|seed| Running::start(&fake, &settings, seed)).collect();
    for replica in &mut replicas {
        replica.ready().await;
    }
    let old = replicas[0].issuer();
    {
        let mut state = fake.state();
        let secret = state.secret.as_mut().unwrap();
        secret["metadata"]["annotations"] = json!({ certs::store::ROTATE: "now" });
        secret["metadata"]["resourceVersion"] = json!("asked");
    }
    // At every moment what is served is accepted.
    let mut phases = vec![Phase::Steady];
    for step in 0..700 {
        // Closely while it changes over, and then until the old CA is dropped.
        let pause = if step < 600 { 100 } else { 10_000 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        for replica in &replicas {
            replica.verify(&fake).unwrap();
            assert_eq!(replica.status.borrow().not_ready, None);
        }
        let phase = replicas[0].status.borrow().phase.unwrap();
        if phases.last() != Some(&phase) {
            phases.push(phase);
        }
    }
    assert_eq!(phases, [Phase::Steady, Phase::Publishing, Phase::Retiring, Phase::Steady]);
    assert_ne!(replicas[0].issuer(), old);
    assert_eq!(replicas[0].issuer(), replicas[1].issuer());
    let secret = fake.state().secret.clone().unwrap();
    assert_eq!(secret["metadata"]["annotations"], json!({}));
    let keys: Vec<_> = secret["data"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["ca.crt", "ca.key"]);
}

#[tokio::test(start_paused = true)]
async fn four_cas_live_and_end_with_real_keys() {
    let fake = fake();
    let mut replicas: Vec<_> = (0..2).map(|seed| Running::start(&fake, &quick(), seed)).collect();
    for replica in &mut replicas {
        replica.ready().await;
    }
    let mut authorities = BTreeSet::from([replicas[0].issuer()]);
    for minute in (0..7 * 60).step_by(4) {
        tokio::time::sleep(Duration::from_secs(240)).await;
        for replica in &replicas {
            replica.verify(&fake).unwrap_or_else(|why| panic!("minute {minute}: {why}"));
            assert_eq!(replica.status.borrow().not_ready, None, "minute {minute}");
        }
        authorities.insert(replicas[0].issuer());
    }
    assert_eq!(authorities.len(), 4, "one for every two hours");
    for replica in &replicas {
        assert!(replica.status.borrow().renewals_total > 50);
    }
}

#[tokio::test(start_paused = true)]
async fn the_api_servers_clock_counts_and_not_the_nodes() {
    // This machine's clock is years behind the fake server's.
    let fake = Fake::new("2091-06-01T00:00:00Z");
    let mut replica = Running::start(&fake, &Settings::default(), 1);
    let status = replica.ready().await;
    replica.verify(&fake).unwrap();
    let leaf = status.leaf.unwrap();
    assert!(leaf.not_before < fake.now() && fake.now() < leaf.not_after);
    assert!(leaf.not_after < fake.now() + 2 * DAY);
    assert!(status.clock.unwrap().contains("behind the API server's"));
}

#[tokio::test(start_paused = true)]
async fn without_a_configuration_it_is_not_ready_until_there_is_one() {
    let fake = fake();
    let configuration = fake.state().configuration.take();
    let mut replica = Running::start(&fake, &Settings::default(), 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let not_ready = replica.status.borrow().not_ready.clone().unwrap();
    assert!(not_ready.contains("there is no such webhook configuration"), "{not_ready}");
    fake.state().configuration = configuration;
    fake.touch();
    replica.ready().await;
    replica.verify(&fake).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_added_later_is_filled_too() {
    let fake = fake();
    let mut replica = Running::start(&fake, &slow(), 1);
    replica.ready().await;
    {
        let mut state = fake.state();
        let configuration = state.configuration.as_mut().unwrap();
        configuration["webhooks"].as_array_mut().unwrap().push(json!({
            "name": "more.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": { "url": "https://127.0.0.1:8443/mutate/pods" },
        }));
        configuration["metadata"]["generation"] = json!(99);
    }
    fake.touch();
    replica.until(Duration::from_secs(1), |status| status.entries.len() == 4).await;
    replica.ready().await;
    replica.verify(&fake).unwrap();
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
    let mut replica = Running::start(&fake, &quick(), 1);
    replica.ready().await;
    // All there is to ask for: a rotation, a repair, a Secret put back.
    fake.overwrite(0, "", "somebody");
    tokio::time::sleep(Duration::from_secs(60)).await;
    fake.state().secret = None;
    tokio::time::sleep(Duration::from_secs(3 * 3_600)).await;
    replica.ready().await;
    assert_eq!(fake.state().asked, allowed());
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
    let mut replica = Running::start(&fake, &Settings::default(), 1);
    let status = replica.ready().await;
    fake.overwrite(0, "", "somebody");
    fake.state().secret.as_mut().unwrap()["data"]["next.key"] = json!("Z2FyYmxl");
    tokio::time::sleep(Duration::from_secs(60)).await;
    fake.state().forbidden.insert("get secrets".to_owned());
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(guard);
    let secret = fake.state().secret.clone().unwrap();
    let shown = format!(
        "{}\n{status:?}\n{}\n{:?}",
        String::from_utf8_lossy(&log.0.lock().unwrap()),
        status.screen("it"),
        replica.serving.borrow()
    );
    assert!(shown.contains("was changed by somebody and put right"), "{shown}");
    assert!(shown.contains("next.crt is missing"), "{shown}");
    let key = secret["data"]["ca.key"].as_str().unwrap();
    let served = replica.serving.borrow().as_ref().unwrap().key().to_pem();
    let lines = served.lines().filter(|line| !line.starts_with('-')).map(str::to_owned);
    // In the Secret's base64, and as the base64 in PEM.
    for trace in lines.chain([key[..60].to_owned(), "PRIVATE KEY".to_owned()]) {
        assert!(!shown.contains(&trace), "{trace} is shown:\n{shown}");
    }
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

#[test]
fn a_status_is_one_screen_and_survives_json() {
    let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let status = Status {
        now,
        not_ready: None,
        problem: None,
        clock: None,
        leaf: None,
        phase: None,
        authorities: Vec::new(),
        entries: Vec::new(),
        next: None,
        renewals_total: 0,
        repairs_total: 0,
        is_fighting: false,
    };
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    assert!(status.screen("pod-1").starts_with("pod-1  ready\n"));
}
