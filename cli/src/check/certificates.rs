//! The CAs in the Secret, and what each replica serves with.

use std::time::Duration;

use certs::bundle::Entry;
use certs::certificate::{Fingerprint, after, certificates, facts};
use certs::rotate::{Settings, signer};
use certs::secret::{Ca, Content};
use certs::serving::verify;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use rustls_pki_types::CertificateDer;

use super::finding::{Check, Finding};
use crate::cluster::Unreadable;

const HOUR: u64 = 3_600;

/// What was read of the certificates.
pub(crate) struct Certificates {
    /// How long certificates live, by the webhook's flags.
    pub(crate) settings: Settings,
    /// The CAs; `None` if the webhook has its certificate from files.
    pub(crate) cas: Option<CaSecret>,
    /// What answers where the API server calls, each by itself.
    pub(crate) served: Result<Vec<Served>, Unreadable>,
}

/// The Secret with the CAs.
pub(crate) struct CaSecret {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// `None` if there is no such Secret.
    pub(crate) content: Result<Option<Content>, Unreadable>,
}

/// A TLS handshake with one replica.
pub(crate) struct Served {
    /// The replica: a pod's name, or an address.
    pub(crate) by: String,
    /// The name that an API server calls it by.
    pub(crate) name: String,
    /// Whether this machine asked it directly, at a URL: that it can't be reached from here says nothing
    /// about the API server's way to it.
    pub(crate) is_at_url: bool,
    /// Its certificates, the serving one first.
    pub(crate) chain: Result<Vec<CertificateDer<'static>>, Unreadable>,
}

pub(crate) fn certificate_authorities(
    found: &Certificates,
    configuration: Option<&MutatingWebhookConfiguration>,
    now: Timestamp,
) -> Finding {
    let check = Check::CertificateAuthorities;
    let Some(CaSecret { namespace, name, content }) = &found.cas else {
        return Finding::ok(check, "the webhook's certificate comes from files, no CA is kept");
    };
    let content = match content {
        Ok(Some(content)) => content,
        Ok(None) => {
            return Finding::failed(check, format!("there is no Secret {namespace}/{name}"))
                .means("The webhook keeps its CAs there. Its replicas serve on with what they have, for some hours at the most.")
                .remedy("kubectl apply -f deploy/webhook/secret.yaml -n ".to_owned() + namespace);
        }
        Err(error) => return Finding::unreadable(check, error),
    };
    let log = format!(
        "kubectl -n {namespace} logs -l app.kubernetes.io/name=secret-handshake-webhook --tail=20"
    );
    if let Some(problem) = &content.problem {
        return Finding::failed(
            check,
            format!("the Secret {namespace}/{name} can't be used: {problem}"),
        )
        .means("The webhook puts a new CA in its place, if it may and if it runs.")
        .remedy(log);
    }
    if content.cas.is_empty() {
        return Finding::failed(check, format!("there is no CA in the Secret {namespace}/{name}"))
            .means("The webhook puts one there as soon as it runs.")
            .remedy(log);
    }
    let entries = configuration.map(Entry::all_of).unwrap_or_default();
    let Some(signing) = signer(&found.settings, now, &entries, &content.cas) else {
        return Finding::failed(check, "every CA has ended, or is not valid yet")
            .objects(content.cas.iter().map(|ca| describe(ca, None, &found.settings, now)))
            .means("The webhook adds one by itself; that it has not means that it can't, or that a clock is far off.")
            .remedy(log);
    };
    let lines = content.cas.iter().map(|ca| describe(ca, Some(signing), &found.settings, now));
    // The next one is there at two thirds of a CA's life.
    let life = signing.validity.not_after.duration_since(signing.validity.not_before);
    let left = signing.validity.not_after.duration_since(now);
    let is_newest = content.cas.last().is_some_and(|last| last.id == signing.id);
    if is_newest && left.as_secs() < life.as_secs() / 4 {
        return Finding::warning(check, format!("the CA ends in {}, and no other is there", span(left.as_secs())))
            .objects(lines)
            .means("The webhook adds the next one at two thirds of a CA's life; that it has not means that it can't.")
            .remedy(log);
    }
    let what = match content.cas.len() {
        1 => format!("the CA has {} left", span(left.as_secs())),
        count => format!("{count} CAs, of which one signs and has {} left", span(left.as_secs())),
    };
    let finding = Finding::ok(check, what);
    if content.cas.len() > 1 { finding.objects(lines) } else { finding }
}

fn describe(ca: &Ca, signing: Option<&Ca>, settings: &Settings, now: Timestamp) -> String {
    let left = ca.validity.not_after.duration_since(now).as_secs();
    let left = if left > 0 {
        format!("{} left", span(left))
    } else {
        format!("ended {} ago", span(-left))
    };
    let role = if signing.is_some_and(|signing| signing.id == ca.id) {
        "signs".to_owned()
    } else {
        match ca.seen.map(|seen| after(seen, settings.settle)) {
            None => "waits until every caBundle has it".to_owned(),
            Some(settled) if settled > now => format!("waits until {settled:.0}"),
            Some(_) => "signs no more, goes when its last certificate has ended".to_owned(),
        }
    };
    format!("{}: {left}, {role}", ca.id)
}

/// A length of time in the unit that fits.
fn span(seconds: i64) -> String {
    let seconds = seconds.unsigned_abs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7_200 => (seconds / 60, "min"),
        7_200..172_800 => (seconds / HOUR, "h"),
        _ => (seconds / (24 * HOUR), "days"),
    };
    format!("{count} {unit}")
}

pub(crate) fn serving_certificates(
    found: &Certificates,
    configuration: Option<&MutatingWebhookConfiguration>,
    now: Timestamp,
) -> Finding {
    let check = Check::ServingCertificates;
    let served = match &found.served {
        Ok(served) => served,
        Err(error) => return Finding::unreadable(check, error),
    };
    let bundle = configuration.and_then(bundle);
    let roots = bundle.map(certificates).and_then(Result::ok);
    let Some(roots) = roots else {
        return Finding::skipped(check, "no caBundle to verify certificates against");
    };
    if let Some(error) = served.iter().find_map(|it| match &it.chain {
        Err(error @ Unreadable::Forbidden(_)) => Some(error),
        _ => None,
    }) {
        return Finding::unreadable(check, error);
    }
    let is_known = |it: &&Served| !it.is_at_url || it.chain.is_ok();
    let served: Vec<_> = served.iter().filter(is_known).collect();
    if served.is_empty() {
        return Finding::skipped(check, "nobody is there to be asked for a certificate");
    }
    let wrong: Vec<String> = served.iter().filter_map(|it| problem(it, &roots, now)).collect();
    if wrong.is_empty() {
        let names: Vec<&str> = served.iter().map(|it| &*it.name).collect();
        let name = names.first().copied().unwrap_or_default();
        return Finding::ok(
            check,
            format!(
                "every replica serves a certificate for {name} that the API server trusts; replicas: {}",
                served.len()
            ),
        );
    }
    Finding::failed(check, format!("replicas that serve no certificate that the API server trusts: {} of {}", wrong.len(), served.len()))
        .objects(wrong)
        .means("Calls that go to them fail with `x509: …`, and so do the pods that ask for a sidecar.")
        .remedy("kubectl -n secret-handshake logs -l app.kubernetes.io/name=secret-handshake-webhook --prefix --tail=20")
        .remedy("if it does not heal within a minute: kubectl -n secret-handshake rollout restart deployment/secret-handshake-webhook")
}

/// The caBundle of the first entry that has one; that all have the same is a check of its own.
fn bundle(configuration: &MutatingWebhookConfiguration) -> Option<&[u8]> {
    let mut bundles = configuration
        .webhooks
        .iter()
        .flatten()
        .filter_map(|it| it.client_config.ca_bundle.as_ref());
    bundles.find(|bundle| !bundle.0.is_empty()).map(|bundle| &*bundle.0)
}

fn problem(served: &Served, roots: &[CertificateDer<'static>], now: Timestamp) -> Option<String> {
    let by = &served.by;
    let chain = match &served.chain {
        Ok(chain) => chain,
        Err(error) => return Some(format!("{by}: {error}")),
    };
    let error = verify(chain, roots, &served.name, now).err()?;
    let certificate = chain.first().and_then(|leaf| facts(leaf).ok());
    let about = certificate.map(|facts| {
        let names = facts.dns.iter().map(|name| injection::printable(name, 253));
        let (id, until) = (chain.first().map(Fingerprint::of), facts.validity.not_after);
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        format!(" ({id}, until {until}, for {})", names.collect::<Vec<_>>().join(", "))
    });
    Some(format!("{by}: {error}{}", about.unwrap_or_default()))
}

/// The life of things from the webhook's flags, where they say another.
pub(crate) fn settings<'a>(flag: impl Fn(&str) -> Option<&'a str>) -> Settings {
    let usual = Settings::default();
    let duration = |name, usual: Duration| {
        flag(name).and_then(|text| humantime::parse_duration(text).ok()).unwrap_or(usual)
    };
    Settings {
        leaf_life: duration("cert-life", usual.leaf_life),
        ca_life: duration("ca-life", usual.ca_life),
        settle: duration("ca-settle", usual.settle),
    }
}
