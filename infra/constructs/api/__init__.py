"""The public API: gateway, domain, firewall."""
