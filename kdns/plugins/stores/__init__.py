"""What *etcd*, *nomad*, *route53*, *azure* and *clouddns* share: they read names from a store over HTTP. No plugin itself."""
