//! The webhook's CA, serving certificate and caBundle: issued, inspected, kept and rotated.
