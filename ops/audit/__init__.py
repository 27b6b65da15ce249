"""What is installed with us: under which licences, and with which known flaws (`make audit`)."""
