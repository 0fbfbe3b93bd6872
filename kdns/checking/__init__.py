"""
What can be found out about a Corefile without serving it: faults, surprises, differences from CoreDNS.

``kdns check`` prints it all; a start that fails prints the faults (:func:`kdns.checking.faults.why_no_start`).
"""
