"""`gatehouse doctor`: checks the machine, the settings and every server that the suite needs."""
