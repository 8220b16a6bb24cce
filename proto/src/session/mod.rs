//! Both ends of the link as state machines without I/O (design §5).
