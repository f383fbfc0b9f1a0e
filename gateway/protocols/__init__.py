"""One dialect a module: bytes → decoded request → core → answer → bytes. A codec never touches a socket."""
